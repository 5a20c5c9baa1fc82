"""One Pumice answers from another: the ids are those of its own engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_server import Live

from pumice.config import Serving
from pumice.engine.contract import Constraint, Generate, Sampling
from pumice.engine.pool import Pool
from pumice.errors import InputError, UnavailableError

PROMPT = [1, 4093, 198, 2683, 359, 260, 3575, 2, 198]


async def test_answers_come_from_a_pumice_elsewhere(live: Live, tmp_path: Path) -> None:
    folder = live.tiny.folder
    async with Pool(live.home.cache, threads=1) as here, Pool(tmp_path, serving=Serving(f"{live.url}/v1")) as there:
        ours, theirs = await here.get(folder), await there.get(folder)
        assert theirs.capabilities.name == "remote"
        red = live.home.models / "red" / "1"
        assert await there.ensure(folder, "red@1", red) is theirs
        await here.ensure(folder, "red@1", red)
        for adapter in (None, "red@1", None):
            request = Generate(PROMPT, Sampling(max_tokens=20, logprobs=2), adapter)
            mine, other = [[delta async for delta in engine.generate(request)] for engine in (ours, theirs)]
            ids, logprobs = [
                [[each for delta in said for each in part(delta)] for said in (mine, other)]
                for part in (lambda delta: delta.ids, lambda delta: delta.logprobs)
            ]
            assert ids[0] == ids[1] and len(ids[0]) == 20
            assert [each.id for each in logprobs[1]] == ids[1]
            for one, two in zip(*logprobs, strict=True):
                assert one.logprob == pytest.approx(two.logprob, abs=1e-3)
                assert [id_ for id_, _ in one.top] == [id_ for id_, _ in two.top]
        assert there.answered(folder, red) == (live.url, "")
        with pytest.raises(InputError, match="cannot hold an answer to a JSON schema"):
            await anext(theirs.generate(Generate(PROMPT, constraint=Constraint("json_schema", "{}"))))
        with pytest.raises(InputError, match="knows no top_k"):
            await anext(theirs.generate(Generate(PROMPT, Sampling(temperature=1, top_k=5))))
        with pytest.raises(UnavailableError, match="does not have the adapter mine"):
            await there.ensure(folder, "mine", red)
