"""Code versions of the library's stages, which the graph shows and staleness follows."""

import ast
from importlib.resources import files

from perigee import model_card
from perigee.corpus import openwebtext2, pg19, unify
from perigee.tokenizer import vocabulary, windows
from perigee.training import recipe

PG19 = pg19.CODE_VERSION
OPENWEBTEXT2 = openwebtext2.CODE_VERSION
UNIFY = unify.CODE_VERSION
VOCABULARY = vocabulary.CODE_VERSION
WINDOWS = windows.CODE_VERSION
CHECKPOINT = recipe.CODE_VERSION
MODEL_CARD = model_card.CODE_VERSION


def declared(module: str) -> str:
    """``CODE_VERSION`` as the source of ``module`` says it, without importing it and torch."""
    package, _, name = module.rpartition(".")
    tree = ast.parse(files(package).joinpath(f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name("CODE_VERSION")], value=ast.Constant(str(version))):
                return version
    raise AssertionError(f"{module} declares no CODE_VERSION")


EVALUATION = declared("perigee.training.evaluation")
SAMPLES = declared("perigee.generation.samples")
