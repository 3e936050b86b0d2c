"""The schemas are valid, and what is shipped fits them."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from hubpkg import documents

ROOT = Path(__file__).parents[1]
SCHEMAS = sorted((ROOT / "schemas").iterdir())
MODELS = sorted((ROOT / "models").glob("*/model.yaml"))
RECIPES = sorted((ROOT / "models").glob("*/recipes/*.yaml"))


def parts(schema):
    """A schema and the schemas in it."""
    yield schema
    children = [
        *schema.get("properties", {}).values(),
        *(
            schema[key]
            for key in ("items", "additionalProperties", "propertyNames")
            if isinstance(schema.get(key), dict)
        ),
    ]
    for child in children:
        yield from parts(child)


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_a_schema_is_valid_2020_12(path):
    schema = json.loads(path.read_text(encoding="utf-8"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith(f"/{path.name}")
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_a_schema_names_all_keys_and_explains_its_patterns(path):
    for part in parts(json.loads(path.read_text(encoding="utf-8"))):
        if "properties" in part:
            assert part["additionalProperties"] is False
            assert set(part.get("required", ())) <= part["properties"].keys()
        if "pattern" in part:
            assert part["description"]
            assert part["pattern"].startswith("^"), "a pattern is for the whole text"


def test_the_schemas_are_those_of_the_documents():
    names = {path.name for path in SCHEMAS}
    assert names == {
        f"{name}.schema.json" for name in ("card", "lock", "manifest", "model", "policy", "recipe", "timing", "weights")
    }


@pytest.mark.parametrize(
    ("schema", "path"),
    [*(("model", path) for path in MODELS), *(("recipe", path) for path in RECIPES)],
    ids=lambda value: str(value.relative_to(ROOT)) if isinstance(value, Path) else value,
)
def test_what_is_shipped_fits(schema, path):
    documents.read(path, schema)


def test_a_model_and_a_recipe_for_each_of_its_datasets_are_shipped():
    assert MODELS
    for path in MODELS:
        datasets = documents.read(path, "model").data["datasets"]
        assert {recipe.stem for recipe in path.parent.glob("recipes/*.yaml")} == datasets.keys()


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("top1acc77.27 | top5acc93.56", True),
        ("acc1.72e-05", True),
        ("2Dprojection99.7", True),
        ("TRP@FAR=1%:98.53", True),
        ("mAP@.5IoU60.6", True),
        ("77.27", False),
        ("top1acc", False),
        ("top1acc77.27|top5acc93.56", False),
        ("top1acc77.27 | ", False),
        ("top1acc77.27\n", False),
        ("", False),
    ],
)
def test_the_form_of_evaluation(text, fits):
    faults = [path for path, _ in documents.faults_of({"evaluation": text}, "card") if path == ("evaluation",)]
    assert (not faults) is fits
