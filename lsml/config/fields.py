"""What every configuration is made of: sections of declared fields, strict YAML, validation in one line."""

import difflib
import re
from collections.abc import Hashable, Iterable, Iterator
from types import UnionType
from typing import Any, ClassVar, Literal, NamedTuple, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lsml.errors import ConfigError

RENAMED = {
    "model.dropout_rise": "model.dropout_increment",
    "model.pixel_share": "model.tree_weight",
    "loss.hardest_share": "loss.ohem_fraction",
    "training.landslide_share": "training.positive_fraction",
    "study.against": "study.second_objective",
    "study.limit": "study.max_cost",
}
"""The fields that an earlier lsml called otherwise: their names then and now."""

Scalar = bool | int | float | str


class _StrictLoader(yaml.SafeLoader):
    """`SafeLoader` without aliases (they can expand without bound) and without silently repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # types-pyyaml leaves it so
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        # Anything else, as of `!!map [a]`, is refused below.
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key_node.start_mark)
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key_node.value}' is repeated", problem_mark=key_node.start_mark
                )
            seen.add(str(key_node.value))
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        # What Python says of a text that is not what its tag, or its form, promises: `!!int abc`, `2024-13-45`.
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
            kind = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(
                problem=f"{_short(node.value)} is not of the type {kind}", problem_mark=node.start_mark
            ) from None


# YAML 1.1, which PyYAML reads, takes `1e-3` for a word; YAML 1.2 and everybody else take it for a number.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _parse_yaml(text: str, what: str) -> object:
    """The value that `text` holds; `what` names its origin in the message.

    Raises:
        ConfigError: a syntax error, a tag, an alias, or a repeated key, with its line.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        if "'\\t'" in str(error.problem):
            raise ConfigError(what, f"{line}a tab, where YAML takes spaces alone", "indent with spaces") from None
        fix = "correct the YAML"
        if isinstance(error, yaml.scanner.ScannerError | yaml.parser.ParserError):
            fix += ": often a colon is missing or an indent is wrong, in that line or in the one above"
        raise ConfigError(what, f"{line}{error.problem}", fix) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(what, f"not YAML ({type(error).__name__})", "correct the YAML") from None


def parse_assignments(assignments: Iterable[str]) -> dict[str, Scalar]:
    """`["model.depth=4"]` to `{"model.depth": 4}`; a value is read as YAML reads it.

    Raises:
        ConfigError: an entry without `=`, or a value that is not a single number, word or truth value.
    """
    values: dict[str, Scalar] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set {assignment}", "not of the form FIELD=VALUE", "write --set model.depth=4")
        values[name.strip()] = _scalar(assignment, text)
    return values


def _scalar(assignment: str, text: str) -> Scalar:
    value = _parse_yaml(text, f"--set {assignment}")
    if not isinstance(value, bool | int | float | str):
        raise ConfigError(f"--set {assignment}", "the value is not a single number or word", "write FIELD=VALUE")
    return value


def field(default: Any, description: str, *, unit: str = "", optuna: str = "", **bounds: Any) -> Any:
    """A declared field.

    Args:
        default: its value where none is given; `...` where one must be.
        optuna: the argument of Optuna's class that the field becomes.
        bounds: pydantic's `ge`, `gt`, `le` and `lt`.
    """
    return Field(default, description=description, json_schema_extra={"unit": unit, "optuna": optuna}, **bounds)


class Section(BaseModel):
    """A frozen group of fields that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)

    @classmethod
    def validated(cls, tree: object, what: str) -> Self:
        """`model_validate(tree)`; `what` names the origin of `tree` in the message.

        Raises:
            ConfigError: the first mistake, be it pydantic's or a validator's own `ConfigError`.
        """
        # A misspelt key first: what is missing, or does not fit together, may be only what follows from it.
        for unknown in cls.unknown_keys(tree):
            raise unknown.as_error(what)
        try:
            return cls.model_validate(tree)
        except ConfigError as error:
            raise ConfigError(f"{what}: {error.what}", error.why, error.fix) from None
        except ValidationError as error:
            raise _first_mistake(error.errors()[0], what) from None

    @classmethod
    def unknown_keys(cls, tree: object) -> Iterator["UnknownKey"]:
        """The keys of plain data that the section does not have, then those of the sections in it."""
        if not isinstance(tree, dict):
            return
        yield from (UnknownKey((str(key),), tuple(cls.model_fields)) for key in tree if key not in cls.model_fields)
        for name, info in cls.model_fields.items():
            inner, entries = _without_none(info.annotation), {name: tree.get(name)}
            if get_origin(inner) is tuple:
                listed = tree.get(name)
                places = enumerate(listed if isinstance(listed, list) else [])
                inner, entries = get_args(inner)[0], {f"{name}.{place}": entry for place, entry in places}
            if isinstance(inner, type) and issubclass(inner, Section):
                for place, entry in entries.items():
                    yield from (unknown.below(place) for unknown in inner.unknown_keys(entry))

    @classmethod
    def from_yaml(cls, text: str, what: str) -> Self:
        """The section that `text` holds, validated.

        Raises:
            ConfigError: no strict YAML, with the line, or the first mistake in its values.
        """
        return cls.validated(_parse_yaml(text, what), what)

    def unlike_default(self, *also: str) -> dict[str, Scalar]:
        """The fields that differ from their defaults, and those of the names in `also`, by dotted name."""
        defaults = flatten(type(self)())
        return {name: value for name, value in flatten(self).items() if name in also or value != defaults[name]}

    @classmethod
    def fields(cls, prefix: str = "", *, kind: str = "") -> Iterator["FieldSpec"]:
        """Every field of the section and of those in it, in the order of declaration, by dotted name.

        Args:
            prefix: what the names begin with.
            kind: the name of the kind whose fields these are; it opens their descriptions.
        """
        for name, info in cls.model_fields.items():
            inner, full = _without_none(info.annotation), prefix + name
            if not (isinstance(inner, type) and issubclass(inner, Section)):
                if not (kind and name == "name"):
                    yield _spec(full, inner, info, kind)
            elif issubclass(inner, Choice):
                yield _choice_spec(f"{full}.name", inner, info)
                for chosen, alternative in inner.kinds().items():
                    yield from alternative.fields(f"{full}.", kind=chosen)
            else:
                yield from inner.fields(f"{full}.")


class UnknownKey(NamedTuple):
    """A key that a section does not have.

    Attributes:
        path: the keys that lead to it, and itself.
        known: those that its section has.
    """

    path: tuple[str, ...]
    known: tuple[str, ...]

    def below(self, place: str) -> "UnknownKey":
        """The same key, of the section at `place` of another one."""
        return self._replace(path=(place, *self.path))

    def as_error(self, what: str) -> ConfigError:
        """What to say of it, with the nearest known key."""
        name = ".".join(self.path)
        old = name.removeprefix("base.")
        fix = suggestion(old if old in RENAMED else self.path[-1], self.known)
        return ConfigError(what, f"unknown key '{name}'", fix)


class Choice(Section):
    """A section of one of several kinds, each a subclass that `name` chooses.

    A name alone stands for that kind with its defaults. Mistakes are answered for the chosen kind only.
    """

    key: ClassVar[str]
    """Where the section stands in an experiment file."""

    name: str

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Every kind by its name, in the order of declaration."""
        return {str(kind.model_fields["name"].default): kind for kind in cls.__subclasses__()}

    @classmethod
    def unknown_keys(cls, tree: object) -> Iterator[UnknownKey]:
        """Those of the kind that is chosen; none where none is."""
        if not (kinds := cls.kinds()):
            return super().unknown_keys(tree)
        chosen = kinds.get(str(tree.get("name"))) if isinstance(tree, dict) else None
        return chosen.unknown_keys(tree) if chosen else iter(())

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        kinds = cls.kinds()
        if not kinds or isinstance(value, cls):
            return handler(value)
        entry = {"name": value} if isinstance(value, str) else value
        if not isinstance(entry, dict) or not (name := str(entry.get("name", ""))):
            raise ConfigError(cls.key, f"must be a name, or a mapping with a name, not {_short(value)}", _list(kinds))
        if name not in kinds:
            raise ConfigError(cls.key, f"no such name '{name}'", suggestion(name, kinds))
        return kinds[name].validated(entry, cls.key)


class FieldSpec(NamedTuple):
    """One field as its section declares it; `low` and `high` are inclusive unless the description says otherwise."""

    name: str
    kind: str
    default: Scalar | None
    choices: tuple[Scalar, ...]
    low: float | None
    high: float | None
    unit: str
    description: str

    @property
    def bounds(self) -> str:
        """The values that the field takes: `4..128`, `standard | minmax`, `true | false`."""
        if self.choices:
            return " | ".join(str(choice) for choice in self.choices)
        if self.kind == "bool":
            return "true | false"
        if self.kind == "text":
            return "text"
        return f"{_number(self.low)}..{_number(self.high)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    return next(kind for kind in get_args(annotation) if kind is not type(None))


def _choice_spec(name: str, choice: type[Choice], info: FieldInfo) -> FieldSpec:
    kinds = choice.kinds()
    meaning = " ".join([f"{info.description}.", *(f"{name}: {kind.__doc__}" for name, kind in kinds.items())])
    return FieldSpec(name, "choice", info.default.name, tuple(kinds), None, None, "", meaning)


def _spec(name: str, annotation: Any, info: FieldInfo, kind: str) -> FieldSpec:
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    low, high = (
        next((getattr(m, key) for m in info.metadata for key in keys if hasattr(m, key)), None)
        for keys in (("ge", "gt"), ("le", "lt"))
    )
    extra = info.json_schema_extra
    description = info.description or ""
    return FieldSpec(
        name=name,
        kind="choice"
        if choices
        else {str: "text", tuple: "list"}.get(get_origin(annotation) or annotation, annotation.__name__),
        default="required" if info.is_required() else info.default,
        choices=choices,
        low=low,
        high=high,
        unit=str(extra["unit"]) if isinstance(extra, dict) else "",
        description=f"{kind}: {description}" if kind else description,
    )


def format_value(value: object) -> str:
    """A value as people read it: four digits of a fraction, nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_amount(value: float) -> str:
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


_NUMBER = "must be a number"
_RULES = {
    "missing": "is required",
    "greater_than": "must be above {gt:.10g}",
    "greater_than_equal": "must be at least {ge:.10g}",
    "less_than": "must be below {lt:.10g}",
    "less_than_equal": "must be at most {le:.10g}",
    "literal_error": "must be {expected}",
    "finite_number": "must be a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("string_type",), "must be text"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a mapping"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
}
"""What a value breaks, by the type that pydantic gives its error."""


def _first_mistake(error: ErrorDetails, what: str) -> ConfigError:
    path, rule = list(error["loc"]), _RULES.get(error["type"], error["msg"])
    name = ".".join(map(str, path))
    if path and path[-1] in ("bool", "int", "float", "str"):
        # One of several types that a value may have, of which pydantic names the first.
        rule, name = _NUMBER, ".".join(map(str, path[:-1]))
    given = "" if error["type"] == "missing" else f", not {_short(error['input'])}"
    why = f"{rule.format(**error.get('ctx', {}))}{given}"
    fix = "add it" if error["type"] == "missing" else "correct the value"
    return ConfigError(f"{what}: {name}" if name else what, why, fix)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_names(names: Iterable[str], what: str, fix: str) -> None:
    """Whether these names of fields, which some lsml recorded for `what`, are their names still.

    Raises:
        ConfigError: one was renamed since.
    """
    if old := next((name for name in names if name in RENAMED), None):
        raise ConfigError(what, f"made by an earlier lsml, in which '{RENAMED[old]}' was called '{old}'", fix)


def suggestion(unknown: str, known: Iterable[str]) -> str:
    """The new name of a renamed field, `did you mean 'depth'?` where a known name is near, else the known names."""
    if unknown in RENAMED:
        return f"it was renamed to '{RENAMED[unknown]}'"
    names = sorted(known)
    near = difflib.get_close_matches(unknown, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else _list(names)


def _list(names: Iterable[str]) -> str:
    return f"allowed: {', '.join(sorted(names)) or 'none'}"
