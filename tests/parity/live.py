"""Checkpoints and what transformers says to them now."""

import fnmatch
import pathlib

import oracle
import recipes
from cases import cases_of
from comparison import Comparison, Expected


def drawn(names, parent):
    """(folder, comparison) of checkpoints drawn below `parent`."""
    for recipe in recipes.all_recipes(names):
        oracle.layout(recipe).write(parent / recipe.name)
        yield parent / recipe.name, Comparison(recipe.name, recipe.architecture, recipe)


def given(names, models):
    """(folder, comparison) of the reader's own checkpoints."""
    for config in sorted(pathlib.Path(models).glob("**/config.json")):
        name = str(config.parent.relative_to(models))
        if not names or any(fnmatch.fnmatch(name, pattern) for pattern in names):
            yield config.parent.resolve(), Comparison(name)


def answers(source):
    """(folder, comparison, expected) of each."""
    for folder, comparison in source:
        yield folder, comparison, answered(folder, comparison)


def answered(folder, comparison):
    """What transformers says to each case: in one thread, for its classes are built under a global state."""
    expected = []
    try:
        model = oracle.Oracle(folder)
        comparison.architecture = model.architecture
        for case in cases_of(comparison.name, [id for id in range(model.vocabulary) if id != model.padding], model.special):
            inputs = {"input_ids": case.ids} if case.ids is not None else model.encoded(case.text, case.pair)
            if model.takes(inputs):
                expected.append(Expected(case, inputs["input_ids"], model.outputs(inputs)))
    except Exception as error:
        comparison.refused = f"by transformers: {type(error).__name__}: {error}".splitlines()[0]
    return expected


def recordable(parent):
    """Recipe -> (layout, comparison, expected)."""

    def of(recipe):
        layout, folder, comparison = oracle.layout(recipe), parent / recipe.name, Comparison(recipe.name)
        layout.write(folder)
        return layout, comparison, answered(folder, comparison)

    return of
