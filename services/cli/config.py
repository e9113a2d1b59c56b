"""`bandit-router config ...`: the settings in force, and where each came from."""

from typing import Annotated

import typer

from services.cli.options import Json
from services.cli.output import escaped, show, show_json, table

app = typer.Typer(no_args_is_help=True, help="Show the settings in force and where they come from.")


@app.command("show")
def show_settings(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="One setting alone.")] = None,
    as_json: Json = False,
) -> None:
    """
    Show every setting with its source; secrets are masked.

    Every setting is an environment variable BANDIT_... and a key of the configuration file.

    \b
    bandit-router config show
    BANDIT_PORT=50061 bandit-router config show port
    """
    from services.settings import Settings

    settings = Settings.effective()
    if key is not None:
        settings = [setting for setting in settings if setting.key == key]
        if not settings:
            raise typer.BadParameter(f"{key!r} is no setting: see config show", param_hint="KEY")
    if as_json:
        show_json({s.key: {"value": s.value, "source": s.source} for s in settings})
        return
    listed = table("", ["setting", "value", "from"])
    for setting in settings:
        listed.add_row(setting.key, escaped(setting.value) or "-", escaped(setting.source))
    show(listed)


@app.command()
def path(as_json: Json = False) -> None:
    """
    Tell which configuration file is read.

    \b
    bandit-router config path
    BANDIT_CONFIG=/etc/bandit-router.toml bandit-router config path
    """
    import os

    from services.settings import CONFIG_VARIABLE, DEFAULT_FILE, Settings

    Settings.load()  # a file that is named and missing, or wrong, is told of here
    file = (os.environ.get(CONFIG_VARIABLE) or None) or str(DEFAULT_FILE)
    found = os.path.isfile(file)
    if as_json:
        show_json({"path": os.path.abspath(file), "exists": found})
    else:
        show(escaped(os.path.abspath(file)) + ("" if found else " (not there: defaults hold)"))
