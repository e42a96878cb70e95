"""Lines that sum up others, such as a mean below a table: they are no cases."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from bench.spec import csvs
from bench.spec.errors import UsageError

MEANS = frozenset(
    {
        *("mean", "means", "average", "averages", "avg", "durchschnitt", "mittel", "mittelwert"),
        *("mittelw", "moyenne", "media", "promedio", "gemiddelde", "medelvarde", "srednia"),
        *("среднее", "среднии", "ortalama", "平均", "平均值", "均值", "平均数", "平均値", "평균"),
        *("median", "mediane", "mediana", "medianwert", "медиана", "中位数", "中央値"),
        *("minimum", "maximum", "最小", "最大", "最小值", "最大值", "最小値", "最大値"),
    }
)
"""Words for a mean and other places of scores, without accents and in small letters."""
SPREADS = frozenset(
    {
        *("sd", "std", "stdev", "stddev", "stdabw", "stabw", "standardabweichung", "stderr"),
        *("sem", "variance", "varianz", "varianza", "iqr", "quartile", "quartil", "quantile"),
        *("quantil", "percentile", "perzentil", "confidence", "标准差", "標準偏差", "方差"),
    }
)
"""Words for how scores are spread."""
TOTALS = frozenset(
    {
        *("sum", "total", "totale", "overall", "count", "summe", "gesamt", "insgesamt", "somme"),
        *("suma", "summary", "subtotal", "合计", "总计", "合計", "итого", "всего"),
    }
)
"""Words for what is taken together."""
TESTS = frozenset({"wilcoxon", "ttest", "anova", "friedman", "pvalue", "significance"})
"""Words for tests between columns."""
SUMMARIES = MEANS | SPREADS | TOTALS | TESTS
"""What programs and people write in the place of a case at the end of a table."""
BESIDE = frozenset(
    {
        *("abw", "all", "and", "case", "cases", "ci", "class", "classes", "deviation", "dev"),
        *("dsc", "dice", "ecart", "error", "fold", "folds", "estandar", "desviacion", "desvio"),
        *("grand", "hd", "ic", "interval", "iou", "ki", "lower", "macro", "micro", "of", "over"),
        *("padrao", "patients", "result", "results", "score", "scores", "set", "standard", "test"),
        *("the", "type", "upper", "val", "validation", "value", "weighted", "x"),
    }
)
"""Words that may stand beside these."""
PAIRS = (
    frozenset({"ecart", "type"}),
    frozenset({"desviacion", "estandar"}),
    frozenset({"desvio", "padrao"}),
    frozenset({"ci", "lower"}),
    frozenset({"ci", "upper"}),
    frozenset({"standard", "error"}),
    frozenset({"std", "abw"}),
)
"""Words that sum up only together."""
NUMBERED = frozenset({"q", "p", "ci", "ki", "ic", "top"}) | SUMMARIES
"""Words that sum up with a number: `Q1`, `p25`, `95%-CI`."""
FEW = 3
"""Names with numbers that show that names of cases have numbers."""
_BRACKETS = re.compile(r"[\[(].*?[\])]")
_QUANTILE = re.compile(r"[0-9]+ ?%")
_INTERVAL = re.compile(r"[\[(][0-9.,;:\s%\u2013-]+[\])]")
_DIGITS = re.compile(r"[0-9]+")


def check_case(name: str, what: str, at: str) -> None:
    """Refuse a name that sums up other lines: `mean`, `Mean (n = 8)`, `25%`.

    Args:
        name: The name.
        what: Whose it is, for the error: case or patient.
        at: File and line.

    Raises:
        UsageError: It does.
    """
    text = _BRACKETS.sub("", csvs.folded(name))
    words = _words(text)
    certain = words & SUMMARIES or any(words >= pair for pair in PAIRS)
    named = certain and words <= SUMMARIES | BESIDE and not _DIGITS.search(text)
    if named or _QUANTILE.fullmatch(text) or _INTERVAL.fullmatch(csvs.folded(name)):
        raise UsageError(
            f"{at}: {name!r} sums up other lines; expected a {what}: remove the line, or give the "
            f"{what} another name"
        )


def check_cases(names: Sequence[tuple[str, str]]) -> None:
    """Refuse a name unlike all other names of cases, as lines below a table have it.

    Args:
        names: Each case, and its file and line.

    Raises:
        UsageError: All other names hold numbers, and one does not; or one is a quantile.
    """
    distinct = dict.fromkeys(name for name, _ in names)
    bare = [name for name in distinct if not re.search(r"\d", name)]
    if len(distinct) - len(bare) >= FEW and len(bare) <= (len(distinct) - len(bare)) / 2:
        odd = set(bare)
    else:
        odd = set()
    numbered = {name for name in distinct if _words(csvs.folded(name)) & NUMBERED}
    numbered = {name for name in numbered if _words(csvs.folded(name)) <= NUMBERED | BESIDE}
    usual = {_shape(name) for name in distinct if name not in numbered}
    if len(usual) and len(distinct) - len(numbered) >= FEW:
        odd |= {name for name in numbered if _shape(name) not in usual}
    for name, at in names:
        if name in odd:
            raise UsageError(
                f"{at}: {name!r} is named unlike all other cases, as a line is that sums them up; "
                "expected a case: remove the line, or give the case a name like the others"
            )


def sums_up(heading: str) -> bool:
    """Return whether a heading is of a summary of other columns: `mean`, `p-value`."""
    words = _words(_BRACKETS.sub("", csvs.folded(heading)))
    return bool(words & SUMMARIES) and words <= SUMMARIES | BESIDE


def _words(text: str) -> set[str]:
    """Return the words of a text, without accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(filter(lambda letter: not unicodedata.combining(letter), decomposed))
    return set(re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", plain)))


def _shape(name: str) -> str:
    """Return a name with one digit for each number."""
    return _DIGITS.sub("0", name)
