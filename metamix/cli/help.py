"""Help of the commands: an example, options by what they are about, and exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

__all__ = ["EXIT_CODES", "Command"]

EXIT_CODES = "0 done, 1 failed while working, 2 wrong use or unreadable input, 130 stopped."
#: Options by what they are about, in the order of the help; those that are not named here come first.
SECTIONS = {
    "What is fitted": (
        "experts", "gate", "final", "groups", "time", "weights", "cv", "scoring", "seed", "jobs", "engine", "address",
        "device", "time_limit", "expert_time_limit", "checkpoint",
    ),
    "How the table is read": (
        "drop", "types", "identifier", "na", "decimal", "thousands", "date_format", "keep_totals", "sep", "encoding",
        "sheet",
    ),
}  # fmt: skip


class Command(click.Command):
    """A command whose help has an example, options in sections, and exit codes.

    Parameters
    ----------
    *given, **more
        Those of `click.Command`.
    example : str
        What to type.
    listing : tuple of str and pairs of str
        A heading, and words with what each means.
    """

    def __init__(
        self, *given: Any, example: str = "", listing: tuple[str, Sequence[tuple[str, str]]] = ("", ()), **more: Any
    ) -> None:
        super().__init__(*given, **more)
        self.example, self.listing = example, listing

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the listing, and the options, those of each section together."""
        if self.listing[1]:
            with formatter.section(self.listing[0]):
                formatter.write_dl(self.listing[1])
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Options", *SECTIONS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                title = next((title for title, names in SECTIONS.items() if parameter.name in names), "Options")
                sections[title].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example and the exit codes."""
        if self.example:
            with formatter.section("Example"):
                formatter.write(f"{'':{formatter.current_indent}}{self.example}\n")
        formatter.write_paragraph()
        formatter.write_text(f"Exit codes: {EXIT_CODES}")
