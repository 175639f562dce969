"""argparse in mmfree's words: a mistake is one line that says what to do, and what may be meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from mmfree.cli.values import CONVERTERS
from mmfree.errors import InputError, did_you_mean, not_one_of

_REQUIRED = "the following arguments are required: "
"""How argparse begins when words are missing."""


class Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Options with their defaults; of one without a default the text says what happens instead."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool):
            return action.help
        return super()._get_help_string(action)


class Arguments(argparse.ArgumentParser):
    """A parser whose errors are ``InputError``.

    ``examples``: command lines that the help shows; the first one stands in messages about words
    that are missing.
    """

    def __init__(self, *, examples: Sequence[str] = (), **options: Any) -> None:
        self.examples = tuple(examples)
        if self.examples:
            options["epilog"] = "\n".join(["examples:", *(f"  {line}" for line in self.examples)])
        self._given: set[str] = set()
        super().__init__(**{"formatter_class": Help, "allow_abbrev": False, **options})
        for kind, convert in CONVERTERS.items():
            self.register("type", kind, convert)

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """InputError if a word is an option that is not there, or lacks its value.

        argparse would first complain of what is missing because of it.
        """
        known = self._option_string_actions
        self._given = {word.partition("=")[0] for word in words}
        before = ""
        for word in words:
            name, equals, _ = word.partition("=")
            if word == "--":
                break
            if name in known:
                self._refuse_valueless(before)
                if equals and known[name].nargs == 0:
                    raise InputError(f"{name} takes no value, got {word!r}")
                before = "" if equals else name
            elif not self._is_option(word):
                before = ""
            elif before and self._takes_value(before) and not word.startswith("--"):
                raise InputError(f"for a value that begins with -, write {before}={word}")
            else:
                near = did_you_mean(_dashed(name), known)
                raise InputError(f"{name}: no such option{near or f'; {self.see_help}'}")
        self._refuse_valueless(before)

    @property
    def see_help(self) -> str:
        """Where a person finds what there is."""
        return f"see `mmfree help{self.prog.removeprefix('mmfree')}`"

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has found, in mmfree's words."""
        if message.startswith(_REQUIRED):
            missing = message.removeprefix(_REQUIRED)
            example = f": for example, {self.examples[0]}" if self.examples else ""
            raise InputError(f"{self.prog} needs {missing}{self._swallowing()}{example}")
        if found := re.match(r"argument (?:\S+/)?(\S+): (.*)", message, re.DOTALL):
            name, text = found.groups()
            joint = " " if text.startswith("must ") else ": "
            raise InputError(f"{name}{joint}{text}")
        raise InputError(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise not_one_of(_name_of(action), value, map(str, action.choices))

    def _is_option(self, word: str) -> bool:
        """Whether argparse would take a word that is no option of this parser for one."""
        number = self._negative_number_matcher.match(word)
        return word.startswith("-") and len(word) > 1 and " " not in word and not number

    def _takes_value(self, name: str) -> bool:
        return self._option_string_actions[name].nargs not in (0, "?", "*")

    def _refuse_valueless(self, name: str) -> None:
        """InputError if the option ``name``, which no value follows, takes one."""
        if name and self._takes_value(name):
            action = self._option_string_actions[name]
            shown = action.metavar or "|".join(map(str, action.choices or ["VALUE"]))
            raise InputError(f"{name} needs a value: {name} {shown}")

    def _swallowing(self) -> str:
        """Where the words may have gone that are missing: to options that take several."""
        many = [
            name
            for name in sorted(self._given & self._option_string_actions.keys())
            if self._option_string_actions[name].nargs == "+"
        ]
        return "".join(f" ({name} takes every word after it)" for name in many)


def _dashed(name: str) -> str:
    """``name`` as options are written: --lanes for -lanes, --data-set for --data_set."""
    return "--" + name.lstrip("-").replace("_", "-")


def _name_of(action: argparse.Action) -> str:
    return (
        action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
    )
