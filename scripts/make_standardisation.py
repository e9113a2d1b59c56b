"""
Write `bandit/features/standardisation.json`: means and deviations over the demo's prompts.

    .venv/bin/python scripts/make_standardisation.py

The numbers are part of the default feature schema: another file means another schema id.
"""

import json
from importlib import resources
from pathlib import Path

import numpy as np

from bandit.features.cues import cues_of
from bandit.features.encoder import WORDLLAMA_LENGTH, WordLlamaEncoder
from bandit.features.projection import projection

TARGET = Path(__file__).parent.parent / "bandit" / "features" / "standardisation.json"


def main() -> None:
    """Read the prompts inside the `paretobandit` wheel and write the constants."""
    folder = resources.files("pareto_bandit").joinpath("data", "examples")
    prompts: dict[str, None] = {}
    for name in ("val.jsonl", "test_holdout.jsonl"):
        for line in folder.joinpath(name).read_text().strip().split("\n"):
            prompts[json.loads(line)["prompt"]] = None
    texts = list(prompts)
    embedding = WordLlamaEncoder().embed(texts) @ projection(WORDLLAMA_LENGTH)
    cues = np.array([cues_of(text) for text in texts])
    numbers = {
        "prompts": len(texts),
        "embedding_mean": _rounded(embedding.mean(axis=0)),
        "embedding_deviation": _rounded(embedding.std(axis=0)),
        "cues_mean": _rounded(cues.mean(axis=0)),
        "cues_deviation": _rounded(np.maximum(cues.std(axis=0), 1e-3)),
    }
    TARGET.write_text(json.dumps(numbers, indent=1) + "\n")


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


if __name__ == "__main__":
    main()
