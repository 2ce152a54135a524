from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import PROGRAM, Chromium
from generation_toys import TableDenoiser, toy_tokenizer

from perigee.generation.page import page, write_page
from perigee.generation.request import Remasking, Request
from perigee.generation.sampler import sample
from perigee.generation.trajectory import Trajectory

WORDS = ("moon", "orbit", "</script><b>", "of", "the", ",", ".")
browser_test = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def trajectories() -> list[Trajectory]:
    tokenizer = toy_tokenizer(*WORDS)
    remasking = Request(
        "the Moon",
        8,
        length=30,
        batch=2,
        sampler="remasking",
        remasking=Remasking("cap", 0.3),
        can_end=False,
    )
    ending = Request("of", 5, length=12, batch=1, seed=2)
    return [
        sample(TableDenoiser(5 + len(WORDS), 30), tokenizer, request, window=30)
        for request in (remasking, ending)
    ]


def data_of(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def replay(text: dict, step: int) -> str:
    """What the page's script does, once more."""
    out = ""
    for events in text["events"][: text["lengths"][min(step, len(text["lengths"]) - 1)]]:
        _, word, _, attached, _, _ = [event for event in events if event[0] <= step][-1]
        out += word if attached else " " + word
    return out.strip()


def test_the_data_replay_every_step(trajectories: list[Trajectory]) -> None:
    data = data_of(page(trajectories, title="T", about={}))
    for run, trajectory in zip(data["runs"], trajectories, strict=True):
        for row, text in enumerate(run["texts"]):
            for frame in trajectory.frames:
                assert replay(text, frame.step) == trajectory.wording.text(frame, row)


def test_events_say_when_and_how_probable(trajectories: list[Trajectory]) -> None:
    trajectory = trajectories[0]
    events = data_of(page(trajectories, title="T", about={}))["runs"][0]["texts"][1]["events"]
    last = trajectory.frames[-1]
    for position in np.flatnonzero(~trajectory.wording.is_prompt).tolist():
        changed = [f.step for f in trajectory.frames if f.is_changed[1, position]]
        *_, decided, probability = events[position][-1]
        assert decided == changed[-1]
        assert probability == pytest.approx(last.probability[1, position], abs=1e-4)
    assert any("masked" in [e[2] for e in each[1:]] for each in events)


def test_words_cannot_end_the_script(trajectories: list[Trajectory]) -> None:
    text = page(trajectories, title="</script><i>", about={"x": "</script>"})
    assert text.count("</script>") == 2
    assert "</script><b>" not in text


def test_nothing_is_fetched(trajectories: list[Trajectory], tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", trajectories, title="T", about={"seed": "1"})
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert not re.findall(r"https?://|\ssrc=|\shref=|@import|url\(|fetch\(|XMLHttp", text)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    page_ = Chromium(tmp_path / "profile")
    yield page_
    page_.close()


@browser_test
@pytest.mark.browser
def test_the_page_plays(trajectories: list[Trajectory], tmp_path: Path, browser: Chromium) -> None:
    path = tmp_path / "samples.html"
    write_page(path, trajectories, title="Perigee samples", about={"seed": "0", "sampler": "x"})
    browser.open(path.as_uri() + "#step=5")
    assert browser.evaluate("at('where').textContent") == "step 5 of 8"

    def texts() -> list[str]:
        return browser.evaluate(
            "[...document.querySelectorAll('.text')].map(box => box.textContent)"
        )

    def move(step: int) -> None:
        browser.evaluate(
            f"at('slider').value = {step}; at('slider').dispatchEvent(new Event('input'))"
        )

    first, second = trajectories
    for step in (0, 3, 8):
        move(step)
        assert texts() == [first.wording.text(first.frames[step], row) for row in range(2)]
        assert browser.evaluate("at('where').textContent") == f"step {step} of 8"
    move(3)
    new = browser.evaluate("document.querySelectorAll('.text')[0].querySelectorAll('.new').length")
    frame = first.frames[3]
    assert new == (frame.is_changed & ~frame.is_masked)[0].sum() > 0

    hint = browser.evaluate(
        "const over = new MouseEvent('mouseover', {bubbles: true});"
        "document.querySelector('.new').dispatchEvent(over); at('hint').textContent"
    )
    assert re.fullmatch(r"Word \d+: decided in step 3, with probability 0\.\d+", hint)

    move(0)
    browser.evaluate("at('speed').value = 30; at('play').click()")
    assert browser.evaluate("at('play').textContent") == "Pause"
    ended = "new Promise(done => setInterval(() => timer === null && done(step), 20))"
    assert browser.evaluate(ended) == 8
    assert browser.evaluate("at('play').textContent") == "Play"

    browser.evaluate("at('run').value = 1; at('run').dispatchEvent(new Event('change'))")
    last = second.frames[-1].step
    move(last)
    assert texts() == second.texts
    hidden = "at('run-label').hidden = true; getComputedStyle(at('run-label')).display"
    assert browser.evaluate(hidden) == "none"
    light, dark = (
        browser.evaluate("at('theme').click(); getComputedStyle(document.body).backgroundColor")
        for _ in range(2)
    )
    assert light != dark
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith("file:")] == []
    if folder := os.environ.get("PERIGEE_SCREENSHOTS"):
        browser.evaluate("at('run').value = 0; at('run').dispatchEvent(new Event('change'))")
        move(4)
        browser.screenshot(Path(folder) / "page.png")
