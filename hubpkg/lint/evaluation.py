"""Rules of the family evaluation: what the card says the model reaches."""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from hubpkg.lint import figures
from hubpkg.lint.rules import ERROR, WARNING, Finding, quote, rule
from hubpkg.lint.source import Card

_PERCENT = 100
_CLOSE = 0.7  # of 1: how like a known name an unknown one is, to be named
_LONGEST = 40  # characters of a metric's name that are compared with the known ones
# The usual spelling of what is measured. A name may have more around it: 'set5PSNR', 'class0precision', 'AP50acc'.
_USUAL = (
    *("acc", "accuracy", "top1acc", "top5acc", "top10acc", "rank1acc", "exactmatch", "EM", "correct"),
    *("AP", "mAP", "AR", "AP50", "AP75", "IoU", "mIoU", "FIoU", "dice", "Jaccard", "PQ", "OKS", "PCK", "PCKh"),
    *(
        "F1",
        "F1score",
        "Fscore",
        "Fmeasure",
        "Emeasure",
        "Smeasure",
        "precision",
        "recall",
        "sensitivity",
        "specificity",
    ),
    *("AUC", "AUROC", "ROC", "GAUC", "EER", "FAR", "FRR", "TAR", "FPR", "TPR", "TRP", "minDCF"),
    *("PSNR", "SSIM", "MSSSIM", "LPIPS", "FID", "KID", "IS", "NIQE", "PI", "SAM", "ERGAS"),
    *(
        "BLEU",
        "ROUGE",
        "RG1",
        "RG2",
        "RGL",
        "METEOR",
        "CIDEr",
        "SPICE",
        "ppl",
        "perplexity",
        "bpc",
        "likelihood",
        "CLIPscore",
    ),
    *("CER", "WER", "LER", "PER", "MOS", "MCD", "STOI", "PESQ", "SDR", "SISNR", "SNR", "DER"),
    *(
        "MAE",
        "MSE",
        "RMSE",
        "MAPE",
        "SMAPE",
        "WAPE",
        "NMSE",
        "CRPS",
        "R2",
        "error",
        "loss",
        "RMSELE",
        "SAD",
        "NME",
        "EPE",
    ),
    *("MRR", "MR", "NDCG", "HR", "hit", "HITS", "MAPK", "GID", "coverage"),
    *("SRCC", "PLCC", "KRCC", "Spearman", "Pearson", "MCC", "kappa", "correlation"),
    *(
        "ADD",
        "ADDS",
        "2Dprojection",
        "projection",
        "HausdorffDistance",
        "ASD",
        "distance",
        "PEP",
        "PEM",
        "EAO",
        "robustness",
    ),
    *("MOTA", "MOTP", "IDF1", "HOTA", "ODS", "OIS", "reward", "score", "return", "winrate", "BPP", "FPS"),
    *("image-level", "pixel-level"),  # the area under the curve for whole images of MVTec AD, and for their pixels
    *("easy", "medium", "hard", "small", "large"),  # subsets, whose mAP is meant
)
_BY_PLAIN = {figures.plain(name): name for name in _USUAL}
# Those that others are likely to be slips of.
_OFTEN = {
    figures.plain(name): name
    for name in (
        *("acc", "top1acc", "top5acc", "rank1acc", "mAP", "mIoU", "PSNR", "SSIM", "BLEU", "F1score", "recall"),
        *("precision", "exactmatch", "RMSE", "MAPE", "NDCG", "AUC", "loss", "dice", "perplexity", "accuracy"),
    )
}
_LETTERS = re.compile(r"[^a-z]+")
# What stands at the end of a name, or at its beginning: the shorter ones are parts of too many other words.
_STEMS = tuple(sorted({_LETTERS.sub("", plain) for plain in _BY_PLAIN if len(_LETTERS.sub("", plain)) > 2}))  # noqa: PLR2004
_SHARES = re.compile(
    r"(?:acc|accuracy|map|ap\d*|iou|dice|f1|f1score|fscore|fmeasure|precision|recall|auc|auroc|gauc|exactmatch|hits?\d*"
    r"|ndcg\d*|mrr|eer|sensitivity|specificity|easy|medium|hard|kappa|mota|idf1|pck|pq)$"
)
_TOP = re.compile(r"^(.*?)(top|rank|hits?|recall|r|rg)@?(\d+)(@\d+)?(acc(?:uracy)?)?$", re.IGNORECASE)
_CLAIMS_NOTHING = frozenset(("", "-", "no", "none", "n/a", "na", "null", "~"))
_DECIMAL_COMMA = re.compile(r"\d,\d+$")
_COLUMNS = {
    "top1": (
        "acctop1",
        "top1",
        "top1acc",
        "top1accuracy",
        "accuracytop1",
        "acc1",
        "准确率top1",
        "top1准确率",
        "top1精度",
    ),
    "top5": (
        "acctop5",
        "top5",
        "top5acc",
        "top5accuracy",
        "accuracytop5",
        "acc5",
        "准确率top5",
        "top5准确率",
        "top5精度",
    ),
    "acc": ("acc", "accuracy", "准确率", "精度", "avgaccuracy"),
    "map": ("map", "boxmap", "mapbox", "map05095", "map5095"),
}
_KIND = {spelling: kind for kind, spellings in _COLUMNS.items() for spelling in spellings}


@rule("E001", "evaluation-syntax", ERROR)
def evaluation_syntax(card: Card) -> Iterator[Finding]:
    """A part of ``evaluation`` is not a metric's name and a number. Parts are joined by `` | ``.

    Why:
        The figure can't be read, compared or searched for by a program, and often not by a person either.

    Bad:
        evaluation: top1acc, top5acc 93.56

    Good:
        evaluation: top1acc77.27 | top5acc93.56
    """
    found = figures.parts(card)
    for part, start in found:
        if figures.PART.fullmatch(part) and not _DECIMAL_COMMA.search(part):
            continue
        if len(found) == 1 and part.lower() in _CLAIMS_NOTHING:
            message = f"expected metrics such as 'top1acc77.27 | top5acc93.56', found {quote(part)}; leave the key out"
        else:
            message = f"expected a metric and its number, such as 'top1acc77.27', found {quote(part)}"
        yield Finding(start, start + max(len(part), 1), message)


@rule("E002", "evaluation-duplicate-metric", ERROR)
def evaluation_duplicate_metric(card: Card) -> Iterator[Finding]:
    """A metric stands twice in ``evaluation``.

    Why:
        Two numbers under one name: one is another metric's, often top-5 labelled as top-1, and readers take
        the wrong one.

    Bad:
        evaluation: top1acc77.27 | top1acc93.56

    Good:
        evaluation: top1acc77.27 | top5acc93.56
    """
    seen: dict[str, figures.Metric] = {}
    for metric in figures.metrics(card):
        first = seen.setdefault(metric.name.lower(), metric)
        if first is not metric:
            yield Finding(
                metric.start,
                metric.end,
                f"expected each metric once, found {quote(metric.name)} with {first.number} and {metric.number}",
            )


@rule("E003", "evaluation-range", ERROR)
def evaluation_range(card: Card) -> Iterator[Finding]:
    """An accuracy or another share lies outside 0 to 100 percent, or is a fraction where percent are meant.

    Why:
        It can't be true: it is another metric's number, or a point is lost, or it is a hundred times too small for
        whoever compares it.

    Bad:
        evaluation: top1acc7727 | top5acc0.9356

    Good:
        evaluation: top1acc77.27 | top5acc93.56
    """
    for metric in figures.metrics(card):
        plain = figures.plain(metric.name)
        value = float(metric.number)
        if plain.endswith("ssim"):
            if value > _PERCENT:
                yield Finding(metric.start, metric.end, f"expected at most 1, or 100 percent, found {metric.number}")
        elif _SHARES.search(plain):
            if not 0 <= value <= _PERCENT:
                yield Finding(metric.start, metric.end, f"expected a percentage, 0 to 100, found {metric.number}")
            elif 0 < value < 1 and plain.endswith("acc"):
                yield Finding(metric.start, metric.end, f"expected a percentage, found {metric.number}; a fraction?")
    accuracy = figures.scalar(card, "accuracy")
    if accuracy is not None:
        stated = re.fullmatch(r"-?\d+(\.\d+)?", accuracy.text)
        if stated is not None and not 0 <= float(stated[0]) <= _PERCENT:
            yield Finding(accuracy.start, accuracy.end, f"expected an accuracy from 0 to 100, found {stated[0]}")


@rule("E004", "metric-name-unknown", WARNING)
def metric_name_unknown(card: Card) -> Iterator[Finding]:
    """A metric's name is not known, or not spelled as usual; the usual spelling is named where there is one.

    Why:
        The hub has 206 names for a few dozen metrics: a search for ``mIoU`` does not find ``miou``, and nobody
        knows what ``top1caa`` or ``IPN`` measures.

    Bad:
        evaluation: top1caa77.27

    Good:
        evaluation: top1acc77.27
    """
    for metric in figures.metrics(card):
        advice = _advice(metric.name.rstrip("-"))
        if advice:
            yield Finding(metric.start, metric.start + len(metric.name), advice)


@lru_cache(maxsize=4096)
def _advice(name: str) -> str:
    """What to say of a metric's name; nothing of a known one."""
    usual = _BY_PLAIN.get(name.lower())
    if usual is not None:
        return f"expected the usual spelling {usual}, found {quote(name)}" if usual != name else ""
    plain = figures.plain(name)
    letters = _LETTERS.sub("", plain)
    if letters.endswith(_STEMS) or letters.startswith(_STEMS) or plain in _BY_PLAIN or letters in _BY_PLAIN:
        return ""
    if _TOP.match(name):
        return ""
    near = difflib.get_close_matches(plain, _OFTEN, n=1, cutoff=_CLOSE) if len(plain) <= _LONGEST else []
    hint = f"; the usual spelling: {_OFTEN[near[0]]}" if near else "; name what is measured, as in 'SVTacc'"
    return f"expected the name of a metric, found {quote(name)}{hint}"


@rule("E005", "evaluation-table-mismatch", ERROR)
def evaluation_table_mismatch(card: Card) -> Iterator[Finding]:
    """``evaluation`` or ``accuracy`` differs from the card's own table, at the precision that is printed.

    The row is found by the asset's link, then by its file's name, then by the model's name; one of another dataset is
    not the card's. A card with no row of its own, or with several that differ, is left alone.

    Why:
        Two numbers for one file: one of them was not measured on it, and nobody can tell which.

    Bad:
        evaluation: top1acc77.27
        | model name | acc@top1 |
        | tiny       | 77.16    |

    Good:
        evaluation: top1acc77.16
        | model name | acc@top1 |
        | tiny       | 77.16    |
    """
    metrics = figures.metrics(card)
    stated = figures.scalar(card, "accuracy")
    claims = [(_kind(metric.name), metric.name, metric.number, metric.start, metric.end) for metric in metrics]
    if stated is not None and re.fullmatch(r"\d+(\.\d+)?", stated.text):
        claims.append(("acc", "accuracy", stated.text, stated.start, stated.end))
    if not claims or not card.tables:
        return
    rows, how = figures.own_records(card)
    printed: dict[str, list[str]] = defaultdict(list)
    for record in rows:
        for column, cell in record.cells.items():
            value = figures.number(cell.text)
            if value is not None:
                printed[_kind(column)].append(value)
    claimed = {claim[0] for claim in claims}
    for kind, name, number, start, end in claims:
        others = _printed_for(kind, printed, claimed)
        if how == "model name" and len(set(others)) > 1:
            continue
        if others and not any(figures.agree_as_share(number, other) for other in others):
            yield Finding(
                start, end, f"expected {others[0]}, as in the table's row (found by {how}), found {name} {number}"
            )


def _printed_for(kind: str, printed: dict[str, list[str]], claimed: set[str]) -> list[str]:
    """The table's numbers for a metric; an accuracy with no k is top-1 where nothing else is."""
    others = printed.get(kind, [])
    if not others and kind == "acc" and "top1" not in claimed:
        return printed.get("top1", [])
    if not others and kind == "top1" and "top5" not in printed:
        return printed.get("acc", [])
    return others


@rule("E006", "evaluation-order", ERROR)
def evaluation_order(card: Card) -> Iterator[Finding]:
    """An accuracy over the k best answers is lower than that over fewer.

    Why:
        The five best answers hold the best one, so that top-5 can't be below top-1: labels or numbers are swapped.

    Bad:
        evaluation: top1acc93.56 | top5acc77.27

    Good:
        evaluation: top1acc77.27 | top5acc93.56
    """
    counted: dict[tuple[str, ...], list[tuple[int, figures.Metric]]] = defaultdict(list)
    for metric in figures.metrics(card):
        match = _TOP.match(metric.name)
        if match is not None and match[2].lower() != "rg":
            family = (
                (match[1], match[2].lower(), match[5] or "") if not match[4] else (match[1], match[2].lower(), match[3])
            )
            counted[family].append((int(match[4][1:] if match[4] else match[3]), metric))
    for found in counted.values():
        ordered = sorted(found, key=lambda pair: pair[0])
        for (fewer, low), (more, high) in pairwise(ordered):
            if fewer < more and float(high.number) < float(low.number):
                yield Finding(
                    high.start,
                    high.end,
                    f"expected at least {low.number}, the value of {low.name}, found {high.number}",
                )


def _kind(name: str) -> str:
    plain = figures.plain(name)
    return _KIND.get(plain, plain)
