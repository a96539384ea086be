"""Hooks of mkdocs: the page of all fields is made of the pool's schema, at each build.

Named in mkdocs.yml, run by `make docs`. A folder in the navigation stands for all its pages; a page
that does not exist fails the build. Links to files of the repository that are not part of the site
are left as plain text.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel

from app.config.durations import format_duration
from app.config.explain import Finding, Location, allowed_at
from app.config.operator_settings import OperatorSettings
from app.config.settings import WITHOUT_FLAG, Settings, flag, variable
from app.config.workerpool import WorkerPool

FIELDS = "fields.md"
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)[^)\s]*)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put all pages of folders into the navigation."""
    folder = Path(config.docs_dir)
    config.nav = _listed(config.nav, folder)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of all fields."""
    files.append(File.generated(config, FIELDS, content=fields_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take links off that lead out of the site: the repository has these files, the site not."""
    del config, files
    folder = posixpath.dirname(page.file.src_uri)

    def inside(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        return link[1] if target.startswith("..") else link[0]

    return _LINK.sub(inside, markdown)


def fields_page() -> str:
    """Write the reference of the pool's file and of the processes' settings."""
    lines = [
        "# All fields",
        "",
        "Made of the schema that the balancer checks with; `leastwise check FILE` applies it.",
        "What the fields are for: [configuration](configuration.md).",
        "",
        "## The pool's file",
        "",
        "| field | default | allowed | |",
        "|---|---|---|---|",
    ]
    lines += [_row(*entry) for entry in spec_fields(WorkerPool)]
    lines += _settings("The process", Settings)
    lines += _settings("The operator", OperatorSettings)
    return "\n".join([*lines, ""])


def _settings(title: str, model: type[BaseModel]) -> Iterator[str]:
    """Yield the section of one role's settings."""
    yield from ("", f"## {title}", "", "| variable | flag | default | allowed | |")
    yield "|---|---|---|---|---|"
    for name, field in model.model_fields.items():
        given = "none" if name in WITHOUT_FLAG else f"`{flag(name)}`"
        default = "required" if field.is_required() else _default(field.default)
        yield (
            f"| `{variable(name)}` | {given} | {default} |"
            f" {_cell(allowed_at(model, (name,)))} | {_cell(field.description or '')} |"
        )


def spec_fields(
    model: type[BaseModel], location: Location = ()
) -> Iterator[tuple[str, str, str, str]]:
    """Yield path, default, what is allowed and description of each field, from the outside in."""
    for name, field in model.model_fields.items():
        path = (*location, field.alias or name)
        inner, listed = _model(field.annotation)
        default = "required" if field.is_required() else _default(field.default)
        if inner is not None and field.default is not None:
            default = "`[]`" if listed else ""
        shown = Finding(path, "", "").path.replace("[0]", "[]")
        yield shown, default, allowed_at(WorkerPool, path), field.description or ""
        if inner is not None:
            yield from spec_fields(inner, (*path, 0) if listed else path)


def _model(hint: object) -> tuple[type[BaseModel] | None, bool]:
    """Return the model that a field holds, if it does, and whether it is a list of them."""
    for part in (hint, *get_args(hint)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part, get_origin(hint) is tuple
        if get_origin(part) is tuple and part is not hint:
            return _model(part)
    return None, False


def _default(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{format_duration(value)}`"
    if isinstance(value, tuple):
        return "`[]`"
    return f"`{getattr(value, 'value', value)}`"


def _row(path: str, default: str, allowed: str, text: str) -> str:
    return f"| `{path}` | {default} | {_cell(allowed)} | {_cell(text)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _order(path: Path) -> tuple[bool, str]:
    return path.name != "README.md", path.name


def _listed(nav: Any, folder: Path) -> Any:  # noqa: ANN401 - as deep as mkdocs has it
    if isinstance(nav, str):
        pages = sorted((folder / nav).glob("*.md"), key=_order)
        return [str(path.relative_to(folder)) for path in pages] or nav
    if isinstance(nav, list):
        return [_listed(one, folder) for one in nav]
    return {title: _listed(inside, folder) for title, inside in nav.items()}
