"""What every configuration is made of: sections of declared fields, strict YAML, validation in one line."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from lsml.errors import ConfigError


class _StrictLoader(yaml.SafeLoader):
    """`SafeLoader` without aliases (they can expand without bound) and without silently repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key_node.value}' stands twice", problem_mark=key_node.start_mark
                )
            seen.add(str(key_node.value))
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML reads, takes `1e-3` for a word; YAML 1.2 and everybody else take it for a number.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str, what: str) -> Any:
    """The value that `text` holds; `what` names its origin in the message.

    Raises:
        ConfigError: a syntax error, a tag, an alias, or a key that stands twice, with its line.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(what, f"{line}{error.problem}", "correct the YAML") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(what, f"not YAML ({type(error).__name__})", "correct the YAML") from None


Scalar = bool | int | float | str


def field(default: Scalar, description: str, *, unit: str = "", **bounds: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"unit": unit}, **bounds)


class Section(BaseModel):
    """A frozen group of fields that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)


class FieldSpec(NamedTuple):
    """One hyperparameter as `TrainConfig` declares it."""

    name: str
    kind: Literal["int", "float", "bool", "choice", "text"]
    default: Scalar
    choices: tuple[Scalar, ...]
    low: float | None
    high: float | None
    unit: str
    description: str

    @property
    def bounds(self) -> str:
        """The values that the field takes, in words: `4..128`, `standard | minmax`, `true | false`."""
        if self.choices:
            return " | ".join(str(choice) for choice in self.choices)
        if self.kind == "bool":
            return "true | false"
        if self.kind == "text":
            return "text"
        return f"{_number(self.low)}..{_number(self.high)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def fields_of(section: type[Section], prefix: str = "") -> Iterator[FieldSpec]:
    """Every field of a section and of those in it, in the order of declaration, by dotted name."""
    for name, info in section.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from fields_of(annotation, f"{prefix}{name}.")
        else:
            yield _spec(prefix + name, info)


def _spec(name: str, info: FieldInfo) -> FieldSpec:
    annotation = info.annotation
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    kinds: dict[Any, Any] = {bool: "bool", int: "int", float: "float", str: "text"}
    bounds = {
        side: next((getattr(m, key) for m in info.metadata for key in keys if hasattr(m, key)), None)
        for side, keys in (("low", ("ge", "gt")), ("high", ("le", "lt")))
    }
    extra = info.json_schema_extra
    return FieldSpec(
        name=name,
        kind="choice" if choices else kinds[annotation],
        default=info.default,
        choices=choices,
        low=bounds["low"],
        high=bounds["high"],
        unit=str(extra["unit"]) if isinstance(extra, dict) else "",
        description=info.description or "",
    )


def in_words(value: object) -> str:
    """A value as people read it: four digits of a fraction, nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def amount(value: float) -> str:
    """A count or a measure as people read it: `31,042` or `12.35`."""
    return f"{value:,.0f}" if value >= 1000 or float(value).is_integer() else f"{value:.4g}"


def flatten(config: BaseModel) -> dict[str, Scalar]:
    """`{"model.depth": 4, ...}`: every field of a configuration by dotted name."""
    flat: dict[str, Scalar] = {}
    for name, value in config:
        if isinstance(value, BaseModel):
            flat |= {f"{name}.{key}": inner for key, inner in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def validate(model: type[Any], tree: Any, what: str) -> Any:
    """`model.model_validate(tree)` with pydantic's first complaint as one `ConfigError`."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            unknown = str(first["loc"][-1])
            raise ConfigError(
                what, f"unknown key '{place}'", suggestion(unknown, _keys_at(model, first["loc"][:-1]))
            ) from None
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            raise ConfigError(what, str(cause), "lsml train --help lists every field") from None
        given = "" if first["type"] == "missing" else f", not {_short(first['input'])}"
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise ConfigError(what, f"{place or 'content'}: {message}{given}", "correct the value") from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed at `path` below `model`; empty where a mapping is free in its keys."""
    for part in path:
        info = model.model_fields.get(str(part))
        found = next((a for a in _models(info.annotation)), None) if info else None
        if found is None:
            return []
        model = found
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    if get_origin(annotation) in (Annotated, Union) or get_args(annotation):
        for argument in get_args(annotation):
            yield from _models(argument)


def suggestion(unknown: str, known: Iterable[str]) -> str:
    """`did you mean 'depth'?` where a known name is near, else the known names."""
    names = sorted(known)
    near = difflib.get_close_matches(unknown, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(names) or 'none'}"
