"""The kinds of values that a configuration holds, each refused with a sentence of its own."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from qdgs.mistakes import shown


class Model(BaseModel):
    """A mapping of the configuration: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _prompt(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a prompt, got {shown(value)}")
    return value


def _prompts(value: list[str]) -> list[str]:
    if not value:
        raise ValueError("expected at least one prompt, got none")
    return value


def refuse_the_same(one: list[str], other: list[str]) -> None:
    """Refuse a prompt that stands on both sides of a difference."""
    both = {prompt.strip() for prompt in one} & {prompt.strip() for prompt in other}
    if both:
        raise ValueError(f"expected different prompts on the two sides, got {min(both)!r} on both")


def _not_a_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {shown(value)}")
    return value


def _value(value: str) -> str:
    if not value.strip() or value.strip(".") == "" or set(value) & set("/\\\0"):
        raise ValueError(f"expected a name that can be a folder's, without slashes, got {value!r}")
    return value


def _column(value: str) -> str:
    if not value.isidentifier() or not value.isascii() or value.startswith("_"):
        raise ValueError(f"expected a name of letters, digits and _, starting with a letter, got {value!r}")
    return value


Integer = Annotated[int, Field(strict=True)]
Real = Annotated[
    float, BeforeValidator(_not_a_bool, json_schema_input_type=float), Field(allow_inf_nan=False)
]
Prompt = Annotated[str, BeforeValidator(_prompt, json_schema_input_type=str)]
OptionalPrompts = Annotated[list[Prompt], BeforeValidator(_as_list, json_schema_input_type=list[str] | str)]
Prompts = Annotated[OptionalPrompts, AfterValidator(_prompts)]
ColumnName = Annotated[str, AfterValidator(_column)]
GroupValue = Annotated[str, AfterValidator(_value)]
