"""Real documents with summaries: figures of the plain ways, the layout of judgments, labels against rouge-chinese."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from rouge_chinese import Rouge

from nlpx.jobs.summarize import summarize, without_model
from nlpx.jobs.summarize.documents import Documents, read_documents
from nlpx.jobs.summarize.evaluate import Settings, evaluate
from nlpx.messages import Silent
from nlpx.metrics.generation import characters
from nlpx.metrics.rouge import rouge
from nlpx.spaces.extract import Size
from nlpx.spaces.labelling import match
from nlpx.spaces.sentences import clauses, sentences

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data beside the checkout")


def _given(name: str) -> Documents:
    return Documents(str(DATA / f"sum_{name}.jsonl.gz"), summary_field="summary", split="dev")


@pytest.mark.parametrize(
    ("name", "count", "better"),
    [("tech_abstract", 161, "TextRank"), ("vcsum", 14, "TextRank"), ("news_title", 672, "first sentence")],
)
def test_the_plain_ways_rank_as_they_should(name, count, better):
    """Meetings and long articles have no lead, news do; and nothing that takes clauses is above the oracle."""
    found = evaluate(_given(name), Settings(), Silent())
    assert found["documents"] == count
    mains = {system["name"]: system["characters"]["main"] for system in found["systems"]}
    assert mains.pop("reference") == pytest.approx(1)
    assert max(mains, key=mains.__getitem__) == "oracle extract"
    del mains["oracle extract"]
    assert max(mains, key=mains.__getitem__) == better


@pytest.mark.parametrize("method", ["textrank", "lead"])
def test_an_extract_is_a_subsequence_of_the_sentences(method):
    given = _given("vcsum")
    texts = [document.text for document in read_documents(given)]
    for text, summary in zip(texts, summarize(given, without_model(method, Size(4))), strict=True):
        rest = iter(sentences(text))
        assert all(one.span in rest for one in summary.taken)
        assert len(summary.taken) == min(4, len(sentences(text)))


def test_judgments_are_read_as_they_are():
    documents = list(read_documents(_given("cail_sample")))
    assert len(documents) == 3
    assert all("判决" in document.text and document.summary for document in documents)


def test_scores_of_matches_are_those_of_rouge_chinese():
    for document in islice(read_documents(_given("cail_sample")), 2):
        ours, theirs = ([span.text for span in clauses(text)] for text in (document.text, document.summary))
        found = match(ours, theirs)
        assert len(found) > len(theirs) / 2
        for one in found:
            pair = [" ".join(characters(text)) for text in (ours[one.source], theirs[one.summary])]
            wanted = Rouge().get_scores(*pair)[0]
            main = 0.2 * wanted["rouge-1"]["f"] + 0.4 * wanted["rouge-2"]["f"] + 0.4 * wanted["rouge-l"]["f"]
            assert one.score == pytest.approx(main, abs=1e-7)
            assert rouge(*map(characters, (ours[one.source], theirs[one.summary]))).main == pytest.approx(one.score)
