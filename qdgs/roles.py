"""Parts by name in a configuration, and the roles that judges hold in a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag, model_validator

from qdgs.values import Model


class Named(BaseModel):
    """A name from a registry, and options for what it stands for."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Every key but the name."""
        return dict(self.model_extra or {})

    @property
    def who(self) -> str:
        """Which part it is, in words: the name, and what a name for many stands for here."""
        return f"{self.name} ({told})" if (told := _which(self.options)) else self.name


class NamedByAttribute(RootModel[Annotated[dict[str, Named], Field(min_length=1)]]):
    """A name from a registry for each attribute: one role, held by several."""

    model_config = ConfigDict(frozen=True)

    @property
    def name(self) -> str:
        """Every name once, with what it is named for."""
        attributes: dict[str, list[str]] = {}
        for attribute, named in self.root.items():
            attributes.setdefault(named.who, []).append(attribute)
        return ", ".join(f"{name} ({', '.join(told)})" for name, told in attributes.items())

    @property
    def who(self) -> str:
        """The same."""
        return self.name


def _kind(value: Any) -> str:
    """Which of the two a judge's place in a configuration holds, so that mistakes are told of that one."""
    by_attribute = isinstance(value, NamedByAttribute) or (isinstance(value, dict) and "name" not in value)
    return "by attribute" if by_attribute else "one"


Judges = Annotated[
    Annotated[Named, Tag("one")] | Annotated[NamedByAttribute, Tag("by attribute")], Discriminator(_kind)
]


class JudgesConfig(Model):
    """Who judges: the teacher's labels calibrate cuts, the gate sees quality only, the auditor grades.

    Teacher and auditor may be maps from attribute to judge. The auditor holds no other role, unless `shared`
    is true, and then every result says so: a judge of one attribute is no other than itself as the teacher
    of that attribute, and any judge is as the gate.
    """

    teacher: Judges | None = None
    gate: Named | None = None
    auditor: Judges | None = None
    shared: bool = False

    @model_validator(mode="before")
    @classmethod
    def _names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        roles = ("teacher", "gate", "auditor")
        return {key: _named(value) if key in roles else value for key, value in data.items()}

    @model_validator(mode="after")
    def _auditor_alone(self) -> Self:
        held = {} if self.shared else self.held_by_the_auditor()
        for role, names in held.items():
            raise ValueError(
                f"expected an auditor that holds no other role, got {names} as {role} and "
                "auditor; name another judge, or set judges.shared to true and every result will say so"
            )
        return self

    def reader(self, role: Literal["teacher", "gate"]) -> Judges | None:
        """Who reads what steers the choice of images: the role's judge, for a missing teacher the gate."""
        return self.teacher or self.gate if role == "teacher" else self.gate

    def each(self) -> list[tuple[str, Named]]:
        """Every judge with its place among the roles, as "auditor" or "auditor.age"."""
        found = []
        for role in ("teacher", "gate", "auditor"):
            held = getattr(self, role)
            if isinstance(held, NamedByAttribute):
                found += [(f"{role}.{attribute}", named) for attribute, named in held.root.items()]
            elif held is not None:
                found.append((role, held))
        return found

    def held_by_the_auditor(self) -> dict[str, str]:
        """Other role → which of the auditor's judges hold it, and for what."""
        if self.auditor is None:
            return {}
        roles = {"teacher": self.teacher, "gate": self.gate}
        held = {role: _in_both(named, self.auditor) for role, named in roles.items() if named is not None}
        return {role: names for role, names in held.items() if names}


def judge_names(judges: Judges | None) -> list[str]:
    """The names of whoever holds a role, each once."""
    if judges is None:
        return []
    if isinstance(judges, Named):
        return [judges.who]
    return list(dict.fromkeys(named.who for named in judges.root.values()))


def _named(value: Any) -> Any:
    """A judge by its name alone, or a map of such, in full."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "name" not in value:
        return {key: {"name": item} if isinstance(item, str) else item for key, item in value.items()}
    return value


def _in_both(one: Judges, other: Judges) -> str:
    if isinstance(one, Named) and isinstance(other, Named):
        return repr(one.who) if one.who == other.who else ""
    if isinstance(one, Named) or isinstance(other, Named):
        names = [name for name in judge_names(one) if name in judge_names(other)]
        return ", ".join(repr(name) for name in names)
    told = [
        f"{named.who!r} ({attribute})"
        for attribute, named in other.root.items()
        if attribute in one.root and one.root[attribute].who == named.who
    ]
    return ", ".join(told)


def _which(options: dict[str, Any]) -> str:
    """The option that tells a part from others of its name."""
    clip = options.get("clip")
    if isinstance(clip, dict):
        return " ".join(str(part) for part in clip.values() if part is not None)
    told = clip or options.get("target") or options.get("path")
    return str(told) if told is not None else ""
