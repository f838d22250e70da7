"""Everything that a report shows, computed once: what its page, its tables and its figures are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdl.allreduce import AllreduceResults
from hpcdl.records import Measurement, Results
from hpcdl.report import more_tables, tables
from hpcdl.report.merge import Source, configs, merge
from hpcdl.report.outlook import Outlook, outlook
from hpcdl.report.pairs import Pair, pairs
from hpcdl.report.series import Series, group
from hpcdl.report.summary import preferred
from hpcdl.report.tables import Table
from hpcdl.report.work import Work, work_of


@dataclass(frozen=True)
class Content:
    """What a report shows.

    Attributes:
        results: the records of all sources as one document.
        series: its points.
        sources: folders of `bench scaling`.
        sums: allreduce benchmarks.
        work: what costs are told for.
        outlook: the forecast, or why there is none.
        pairs: points measured with images that were read and without.
    """

    results: Results
    series: list[Series]
    sources: Sequence[Source]
    sums: Sequence[AllreduceResults]
    work: Work
    outlook: Outlook | str
    pairs: list[Pair]

    @property
    def points(self) -> list[Measurement]:
        return [m for one in self.series for m in one.points]

    def tables(self) -> list[Table]:
        """Every table, the two that any benchmark has first."""
        found = [tables.rate_table(self.series, self.work), tables.step_table(self.series)]
        found.append(more_tables.use_table(self.series))
        if self.pairs:
            found.append(more_tables.input_table(self.pairs))
        if self.results.accuracy:
            found.append(more_tables.accuracy_table(self.results.accuracy))
        if isinstance(self.outlook, Outlook):
            found.append(more_tables.forecast_table(self.outlook))
        if self.sums:
            found.append(more_tables.allreduce_table(self.sums))
        return found


def content(sources: Sequence[Source], sums: Sequence[AllreduceResults], command: Sequence[str], out: Path) -> Content:
    """The content of a report in `out`, which `command` makes."""
    results = merge(sources, command, out)
    series = group(results.results)
    return Content(
        results=results,
        series=series,
        sources=sources,
        sums=sums,
        work=work_of([source.results for source in sources]),
        outlook=outlook(preferred(series), configs(sources)),
        pairs=pairs(results.results),
    )
