"""``dse_excluded_args``: arguments whose list is a value and not a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Place
from compiler.diagnostics.wording import listing, nearest, value_text
from compiler.rules.model import TestTable
from compiler.scenario.model import Origin
from compiler.schema.store import properties, templates, test_schema

PREFIX = "cmd_args."


def known(table: TestTable) -> Iterator[Diagnostic]:
    """Each exclusion names an argument of the workload."""
    for name, place in excluded(table):
        arguments = list(properties(test_schema(templates()[0]), "/properties/cmd_args"))
        if name.removeprefix(PREFIX) in arguments and name.startswith(PREFIX):
            continue
        meant = nearest(name.removeprefix(PREFIX), arguments)
        yield finding(
            "excluded-unknown",
            f"dse_excluded_args: {value_text(name)} is not cmd_args.<argument>",
            place,
            fix=f"write {value_text(PREFIX + meant)}"
            if meant
            else f"the arguments are {listing(arguments, 'and')}",
        )


def excluded(table: TestTable) -> Iterator[tuple[str, Place]]:
    """Yields the names that a table excludes, with their places."""
    value = table.data.get("dse_excluded_args")
    if isinstance(value, str):
        yield value, table.place("dse_excluded_args")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, str):
                yield item, table.place("dse_excluded_args", number)


def kept_lists(origin: Origin, names: Iterable[str], arguments: Mapping[str, object]) -> Iterator[Diagnostic]:
    """Reports lists that an exclusion keeps as values: no argument of the workload takes a list.

    ``names`` are the exclusions that hold for an entry, ``arguments`` its merged cmd_args.
    """
    for name in names:
        argument = name.removeprefix(PREFIX)
        value = arguments.get(argument)
        if isinstance(value, list):
            one = value_text(value[0])
            yield finding(
                "list-not-allowed",
                f"{argument} = {value_text(value)}: a list kept as a value, but it takes one value",
                origin.place("cmd_args", argument),
                fix=f"write {argument} = {one}, or take {value_text(name)} out of dse_excluded_args",
            )
        elif argument in arguments:
            text = f"dse_excluded_args names {name}, which is no list: nothing is kept from a sweep"
            yield finding("no-effect", text, origin.place("dse_excluded_args"))
