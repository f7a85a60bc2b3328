"""Recipes: which come with forklock, what they say, what they may say."""

from __future__ import annotations

from typing import Annotated

import typer

from forklock.commands.options import AsJson, Overrides, RecipeNames, console, escape, print_json

app = typer.Typer(help="The recipes that come with forklock, and what a recipe may set.")


@app.callback()
def list_recipes(context: typer.Context, as_json: AsJson = False) -> None:
    """List the recipes that come with forklock."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from forklock import recipes

    purposes = {name: recipes.load([name]).purpose for name, _ in recipes.shipped()}
    if as_json:
        print_json({"recipes": [{"name": name, "purpose": purpose} for name, purpose in purposes.items()]})
        return
    table = Table("recipe", "purpose", box=None, pad_edge=False)
    for name, purpose in purposes.items():
        table.add_row(name, purpose)
    console().print(table)


@app.command("show")
def show_recipe(
    recipe: RecipeNames,
    resolved: Annotated[bool, typer.Option("--resolved", help="With every inherited and default value.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check recipes and print them: as written, or as they compose."""
    from forklock import recipes

    composed = recipes.load(recipe, overrides or [])
    if as_json:
        print_json(composed.model_dump(mode="json"))
    elif resolved or overrides or len(recipe) > 1:
        typer.echo(recipes.to_toml(composed), nl=False)
    else:
        typer.echo(recipes.source_of(recipe[0]).read_text(encoding="utf-8"), nl=False)


@app.command("keys")
def show_keys(
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="As the table of docs/recipes.md.")] = False,
) -> None:
    """Every key that a recipe may set: type, default, meaning."""
    from dataclasses import asdict

    from rich.table import Table

    from forklock.recipes import reference

    if as_markdown:
        typer.echo(reference.as_markdown(), nl=False)
        return
    if as_json:
        print_json({"keys": [asdict(row) for row in reference.rows()]})
        return
    table = Table("key", "default", "meaning", box=None, pad_edge=False)
    for row in reference.rows():
        table.add_row(row.key, escape(row.default), escape(f"{row.meaning} ({row.type})".strip()))
    console().print(table)
