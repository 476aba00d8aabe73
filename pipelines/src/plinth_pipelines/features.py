"""From declarations in `feature_repo/` to what the services read: `python -m plinth_pipelines.features`.

Feast checks and registers the declarations; compiling turns each feature service into a small JSON file that
a service reads without Feast (whose import takes seconds and hundreds of megabytes).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from plinth_contracts import topics
from plinth_features import spec
from plinth_pipelines import terminal


def compile_service(service: Any, views: dict[str, Any], on_demand: dict[str, Any]) -> spec.FeatureService:
    """A Feast feature service as data. Raises ValueError where a declaration has no meaning."""
    names = [projection.name for projection in service.feature_view_projections]
    compiled = spec.FeatureService(
        name=service.name,
        request=tuple(
            spec.RequestFeature(feature=field.name, function=field.name)
            for name in names
            if name in on_demand
            for field in on_demand[name].features
        ),
        views=tuple(compile_view(views[name]) for name in names if name in views),
    )
    return msgspec.convert(msgspec.to_builtins(compiled), spec.FeatureService)


def compile_view(view: Any) -> spec.View:
    """A Feast stream feature view as data."""
    topic = topics.by_name()[view.stream_source.kafka_options.topic]
    fields = {field.name: field for field in view.schema}
    aggregations = tuple(_aggregation(a, fields) for a in view.aggregations)
    return spec.View(
        name=view.name,
        entity=view.entities[0],
        source=topic.name,
        partitions=topic.partitions,
        columns=tuple(dict.fromkeys(column for a in aggregations for column in a.columns)),
        recent=int(view.tags.get("recent", 16)),
        distinct=int(view.tags.get("distinct", 64)),
        ordinary_minor=_ordinary_minor(fields),
        ttl_s=int(view.ttl.total_seconds()),
        aggregations=aggregations,
        description=view.description,
        owner=view.owner,
    )


def _ordinary_minor(fields: dict[str, Any]) -> int | None:
    """The greatest amount of an ordinary fraud, declared with the column that it makes."""
    declared = fields[spec.ORDINARY].tags.get("at_most_minor") if spec.ORDINARY in fields else None
    return None if declared is None else int(declared)


def _aggregation(aggregation: Any, fields: dict[str, Any]) -> spec.Aggregation:
    window, hop = aggregation.time_window, aggregation.slide_interval
    window_s = None if window is None else int(window.total_seconds())
    if aggregation.name not in fields:
        raise ValueError(f"{aggregation.name} is aggregated but not in the schema of its view")
    if window_s is not None and int(hop.total_seconds()) != spec.hop_s(window_s):
        raise ValueError(f"{aggregation.name}: a window of {window_s} s slides by {spec.hop_s(window_s)} s")
    tags = fields[aggregation.name].tags
    return spec.Aggregation(
        feature=aggregation.name,
        function=cast(spec.Function, aggregation.function),
        column=None if aggregation.function in spec.COLUMNLESS else aggregation.column,
        window_s=window_s,
        default=float(tags.get("default", 0.0)),
        scale=float(tags.get("scale", 1.0)),
        factor=float(tags.get("factor", 2.0)),
    )


def apply(repo: Path, state: Path) -> list[spec.FeatureService]:
    """Register every declaration of the repository with Feast and return its compiled services."""
    os.environ["PLINTH_STATE_DIR"] = str(state.resolve())
    (state / "feast").mkdir(parents=True, exist_ok=True)
    from feast import FeatureStore
    from feast.repo_operations import apply_total, parse_repo

    with contextlib.chdir(repo):  # Feast imports declarations relative to the working directory
        sys.path.insert(0, "")
        try:
            store = FeatureStore(repo_path=".")
            apply_total(store.config, Path.cwd(), skip_source_validation=True)
            declared = parse_repo(Path.cwd())
        finally:
            sys.path.remove("")
    views = {view.name: view for view in declared.stream_feature_views}
    on_demand = {view.name: view for view in declared.on_demand_feature_views}
    return [compile_service(service, views, on_demand) for service in declared.feature_services]


def compiled_path(repo: Path, name: str) -> Path:
    """Where the compiled form of a feature service is committed."""
    return repo / "compiled" / f"{name}.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Apply the repository and write its compiled services."""
    parser = argparse.ArgumentParser(prog="python -m plinth_pipelines.features", description=main.__doc__)
    parser.add_argument("--repo", type=Path, default=Path("feature_repo"))
    parser.add_argument("--state", type=Path, default=Path(".plinth"))
    options = parser.parse_args(arguments)
    with terminal.quiet():
        services = apply(options.repo, options.state)
    for service in services:
        path = compiled_path(options.repo, service.name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(spec.dump(service))
        print(f"{path}: {len(service.names)} features, fingerprint {service.fingerprint}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
