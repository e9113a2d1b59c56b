import pytest

from benchmarks.learning.document import BEGIN, END, deviations, written_into
from benchmarks.learning.figures import Figure, Section

PLAIN = f"# Before\n\n{BEGIN}\n\n{END}\n\nAfter.\n"


def a_section(title, *values, seeds=2):
    figure = Figure("reward at B1", values, 0.5)
    return Section(f"{title} ({seeds} seeds)", "What it is.", (figure,))


@pytest.fixture
def document(tmp_path):
    page = tmp_path / "learning.md"
    page.write_text(PLAIN)
    return page


def test_what_stands_around_the_figures_stays(document):
    written_into(document, [a_section("Cold", 0.6, 0.8)])

    text = document.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n\n### Cold (2 seeds)\n\nWhat it is.\n\n")
    assert "| reward at B1 | 0.7000 ± 0.1414 | ≥ 0.5 | holds |\n" in text
    assert text.endswith(f"\n{END}\n\nAfter.\n")


def test_one_experiment_replaces_its_own_figures_and_no_others(document):
    written_into(document, [a_section("Cold", 0.6, 0.8), a_section("Warm", 0.2, 0.4)])
    both = document.read_text()

    written_into(document, [a_section("Cold", 0.6, 0.8)])
    assert document.read_text() == both

    written_into(document, [a_section("Cold", 0.5, 0.5, 0.5, seeds=3), a_section("New", 1.0)])
    text = document.read_text()
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert titles == ["### Cold (3 seeds)", "### Warm (2 seeds)", "### New (2 seeds)"]
    assert "| reward at B1 | 0.3000 ± 0.1414 | ≥ 0.5 | **missed** |" in text


def test_deviations_are_read_from_the_section_asked_for(document):
    written_into(document, [a_section("Cold", 0.6, 0.8), a_section("Warm", 0.5, 0.5)])

    assert deviations(document, "Cold") == {"reward at B1": 0.1414}
    assert deviations(document, "Warm") == {"reward at B1": 0.0}
    assert deviations(document, "Hot") == {}
