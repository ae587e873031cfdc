"""Reads YAML as people mean it: safe types only, no aliases, no key twice, and `1e-3` is a number."""

import re
from typing import Any

import yaml

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


def parse(text: str, what: str) -> Any:
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
