"""Token heat: figures are those of the gates and maps; the terminal and the page tell them, whatever the text holds."""

import re
from html.parser import HTMLParser

import pytest
import torch
from tiny import tiny_pipeline
from tiny_texts import CONTROL, SOURCE, model, rudeness, tokenizer

import dsas_diffusion as dsas
from dsas_diffusion.evaluation.heat_page import heat_page
from dsas_diffusion.evaluation.heat_terminal import heat_lines
from dsas_diffusion.evaluation.token_heat import TokenHeat, token_heat

PATHS = ["model.layers.0", "model.layers.1"]
NASTY = '</td><script>alert("x")</script>'


def fitted(lm, **settings):
    settings = {"tau": 0.5, "gate": "logistic", "strength": 2.0, **settings}
    return dsas.fit(lm, rudeness(), tokenizer=tokenizer(), progress=False, **settings)


@pytest.fixture(scope="module")
def lm():
    return model("llama")


def drawn(tokens=("you", "are", "a\n", NASTY)) -> TokenHeat:
    gates = {path: torch.tensor([0.0, 0.25, 0.5, 1.0]) * (number + 1) / 2 for number, path in enumerate(PATHS)}
    changes = {"model.layers.1": torch.tensor([0.0, 0.0123, 0.5, 2.0])}
    return TokenHeat(tuple(tokens), gates, {PATHS[0]: 0.25, PATHS[1]: 0.75}, changes, 1.5)


def test_figures_are_those_of_gates_and_maps(lm):
    steerer = fitted(lm, sites=PATHS[0])
    site = steerer.sites[PATHS[0]]
    texts = [SOURCE[0], CONTROL[1], SOURCE[2]]
    heats = token_heat(lm, tokenizer(), steerer, texts, batch_size=2)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.modules())
    for text, heat in zip(texts, heats, strict=True):
        assert heat.tokens == ("<s>", *text.split())
        ids = tokenizer()(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            t = lm(ids, output_hidden_states=True).hidden_states[1][0]
        h = site.gate(t[None])[0]
        expected = 2 * site.weight * h * site.method.shift.norm() / t.norm(dim=1)
        assert torch.allclose(heat.gates[PATHS[0]], h, atol=1e-5)
        assert torch.allclose(heat.changes[PATHS[0]], expected, atol=1e-4)
        assert heat.weights == {PATHS[0]: site.weight}
        assert heat.strength == 2.0


def test_changes_of_steered_heads_are_seen_at_the_blocks(lm):
    steerer = fitted(lm, sites="attention-heads", gate="always")
    heat = token_heat(lm, tokenizer(), steerer, SOURCE[:1])[0]
    assert list(heat.changes) == PATHS
    assert set(heat.gates) == set(steerer.sites)
    assert heat.changes[PATHS[1]].min() > 0


def test_an_encoder_has_heat():
    bert = model("bert")
    heat = token_heat(bert, tokenizer(), fitted(bert, gate="always"), SOURCE[:1])[0]
    assert len(heat.tokens) == 1 + len(SOURCE[0].split())
    assert all(each.min() > 0 for each in heat.changes.values())


def test_the_mean_gate_is_weighted():
    assert torch.allclose(drawn().mean_gate(), torch.tensor([0.0, 0.25, 0.5, 1.0]) * (0.25 / 2 + 0.75))


def test_pipelines_are_told_where_their_gate_maps_are():
    pipe = tiny_pipeline()
    steerer = dsas.Steerer([], {"strength": 1.0, "concept": {"label": "x"}})
    with pytest.raises(dsas.InputError, match=r"ask gate_maps\(\)"):
        token_heat(pipe, tokenizer(), steerer, ["x"])


def test_the_terminal_tells_the_same_with_colours_and_without():
    plain, coloured = (heat_lines(drawn(), colour=colour) for colour in (False, True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    lines = plain.splitlines()
    assert lines[0].split() == ["gate", "h", "you", "are", "a↵", NASTY]
    assert lines[1].split() == [PATHS[0], "s=0.25", "0.00", "0.12", "0.25", "0.50"]
    assert lines[2].split() == [PATHS[1], "s=0.75", "0.00", "0.25", "0.50", "1.00"]
    assert lines[4].split()[0] == "change"
    assert lines[5].split() == [PATHS[1], "0.00", "1.23", "50", "200"]
    assert {len(line) for line in lines if line} == {len(lines[0])}  # columns stand below one another
    shades = [int(code) for code in re.findall(r"48;5;(\d+)m", coloured)]
    assert (shades[0], shades[7]) == (231, 201)  # h = 0 and h = 1


def test_long_texts_are_broken_and_narrow_terminals_refused():
    heat = drawn(("you", "are", "a", "tree"))
    lines = heat_lines(heat, width=33, colour=False).splitlines()
    assert max(map(len, lines)) <= 33
    assert [line.split()[2:] for line in lines if line.startswith("gate")] == [["you", "are"], ["a", "tree"]]
    with pytest.raises(dsas.InputError, match="width=20 is too narrow"):
        heat_lines(heat, width=20)


class Page(HTMLParser):
    """Tags that are open, what stands in cells, and what would be loaded from elsewhere."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.cells, self.links, self.scripts = [], [], [], 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given[name] for name in ("src", "href") if name in given]
        self.scripts += tag == "script"
        if tag == "td" and "title" in given:
            self.cells.append((given["title"], given["tabindex"], given["style"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_escaped_and_loads_nothing():
    text = heat_page([drawn(), drawn(("it", "is", "<b>", "&amp;"))], title="<Heat>")
    page = Page(text)
    assert page.open == []
    assert page.links == []
    assert "url(" not in text
    assert "@import" not in text
    assert page.scripts == 1
    assert "<title>&lt;Heat&gt;</title>" in text
    assert len(page.cells) == 2 * 4 * 3
    told = [title for title, _, _ in page.cells]
    assert told[3] == f"“{NASTY}” at model.layers.0: gate 0.5000"
    assert told[8:12][1] == "“are” at model.layers.1: change 0.0123"
    assert [tab for _, tab, _ in page.cells].count("0") == 4  # one of each table takes part in tabbing
    assert page.cells[11][2] == "--v:1.000"  # the text's largest change has the full tint
    assert "color-scheme: light dark" in text


def test_an_empty_page_is_refused():
    with pytest.raises(dsas.InputError, match="No text was given"):
        heat_page([])
