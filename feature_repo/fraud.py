"""Features of the fraud model. This is the only place where they are declared."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, KafkaSource, RequestSource
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.on_demand_feature_view import on_demand_feature_view
from feast.stream_feature_view import StreamFeatureView
from feast.types import Float64, Int64, UnixTimestamp
from feast.value_type import ValueType

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
WINDOWS = {"1d": (1 * DAY, HOUR), "7d": (7 * DAY, DAY), "30d": (30 * DAY, DAY)}
KEEP = 365 * DAY
"""Time to live of rows: states look back without limit, and a row that expired starts anew."""

CENTS = {"scale": "0.01"}
AS_USUAL = {"default": "1"}
LONG_AGO = {"default": str(int(KEEP.total_seconds()))}
"""What never happened sorts with what happened longest ago."""

HIGH = {"factor": "3"}
"""Times the median. 3 found by walk-forward: at 2 the ordinary spread of amounts hides the frauds."""

ORDINARY = {"at_most_minor": "22000"}
"""A fraud of more than 220.00 is fraud by its amount, and says nothing of the terminal where it happened.

220.00 was not found in the data: it is the amount above which the simulation calls every payment fraud
(its first scenario). For other payments take the amount above which your rules or analysts call a payment
fraud by itself.
"""

UNKNOWN = {"default": "-1"}
"""Below every value that can be known."""

PLACE = ("latitude_e6", "longitude_e6", "placed")

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING, owner="fraud")
terminal = Entity(name="terminal", join_keys=["terminal_id"], value_type=ValueType.STRING, owner="fraud")

transactions = KafkaSource(
    name="transaction.received",
    topic="transaction.received",
    timestamp_field="event_ts",
    message_format=JsonFormat(
        schema_json="amount_minor long, terminal_id string, latitude double, longitude double,"
        " event_ts timestamp"
    ),
    batch_source=FileSource(path="transactions.parquet", timestamp_field="event_ts"),
    description="Card payments as they arrive.",
    owner="payments",
)
labels = KafkaSource(
    name="label.observed",
    topic="label.observed",
    timestamp_field="known_ts",
    message_format=JsonFormat(schema_json="label double, amount_minor long, known_ts timestamp"),
    batch_source=FileSource(path="labels.parquet", timestamp_field="known_ts"),
    description="The truth about earlier transactions, when it became known.",
    owner="fraud",
)
request = RequestSource(
    name="transaction",
    schema=[Field(name="amount_minor", dtype=Int64), Field(name="event_ts", dtype=UnixTimestamp)],
)


@on_demand_feature_view(
    sources=[request],
    schema=[Field(name=name, dtype=Float64) for name in ("amount", "is_weekend", "is_night")],
    mode="python",
    owner="fraud",
    description="What the transaction says of itself: major units; Saturday or Sunday; 0:00 to 6:59, UTC.",
)
def transaction_request(inputs):
    """The same meaning as plinth_features.request, one request at a time."""
    when = inputs["event_ts"]
    return {
        "amount": [amount / 100 for amount in inputs["amount_minor"]],
        "is_weekend": [float(t.weekday() >= 5) for t in when],
        "is_night": [float(t.hour <= 6) for t in when],
    }


def count_and_mean(count: str, mean: str, column: str) -> list[Aggregation]:
    """Number of events and mean of a column, over every window."""
    return [
        Aggregation(
            column=column, function=function, time_window=window, slide_interval=hop, name=f"{name}_{label}"
        )
        for label, (window, hop) in WINDOWS.items()
        for function, name in (("count", count), ("mean", mean))
    ]


def over(window: timedelta, slide: timedelta, function: str, name: str, column: str = "") -> Aggregation:
    """A function of a window. Feast registers functions that it does not know itself as they are named."""
    return Aggregation(column=column, function=function, time_window=window, slide_interval=slide, name=name)


def state(function: str, name: str, column: str = "") -> Aggregation:
    """A function that looks back without limit."""
    return Aggregation(column=column, function=function, name=name)


def fields(aggregations: list[Aggregation], tags: dict[str, dict[str, str]]) -> list[Field]:
    """An aggregate is a feature only if it is also in the schema; tags by function."""
    return [Field(name=a.name, dtype=Float64, tags=tags.get(a.function, {})) for a in aggregations]


MONTH = 30 * DAY, DAY
spending = [
    *count_and_mean("customer_tx_count", "customer_amount_mean", "amount_minor"),
    over(60 * SECOND, 5 * SECOND, "count", "customer_tx_count_60s"),
    over(*MONTH, "std", "customer_amount_std_30d", "amount_minor"),
    over(*MONTH, "over_median", "customer_amount_over_median", "amount_minor"),
    over(*MONTH, "over_mean", "customer_amount_over_mean_30d", "amount_minor"),
    over(*MONTH, "count_high", "customer_high_count", "amount_minor"),
    over(*MONTH, "share_high", "customer_high_share", "amount_minor"),
    state("gap", "customer_gap"),
    state("first", "customer_new_terminal", "terminal"),
    over(*MONTH, "distance_km", "customer_distance_km"),
]
customer_transactions = StreamFeatureView(
    name="customer_transactions",
    entities=[customer],
    source=transactions,
    timestamp_field="event_ts",
    ttl=KEEP,
    online=False,
    aggregations=spending,
    schema=[
        *(Field(name=name, dtype=Int64) for name in ("amount_minor", "terminal", *PLACE)),
        *fields(
            spending,
            {
                "mean": CENTS,
                "std": CENTS,
                "over_median": AS_USUAL,
                "over_mean": AS_USUAL,
                "count_high": HIGH,
                "share_high": HIGH,
                "gap": LONG_AGO,
                "first": AS_USUAL,
            },
        ),
    ],
    tags={"recent": "32", "distinct": "64"},
    description="How often, how much, where and how a card holder pays, the current transaction included.",
    owner="fraud",
)

risk = [
    *count_and_mean("terminal_label_count", "terminal_fraud_share", "label"),
    over(60 * DAY, DAY, "count", "terminal_label_count_60d"),
    state("last", "terminal_last_label", "label"),
    state("run", "terminal_fraud_run", "label"),
    state("run_age", "terminal_fraud_run_age", "label"),
    state("run", "terminal_ordinary_run", "ordinary_label"),
    state("run_age", "terminal_ordinary_run_age", "ordinary_label"),
    state("age_positive", "terminal_fraud_age", "label"),
    state("age_zero", "terminal_genuine_age", "label"),
]
terminal_labels = StreamFeatureView(
    name="terminal_labels",
    entities=[terminal],
    source=labels,
    timestamp_field="known_ts",
    ttl=KEEP,
    online=False,
    aggregations=risk,
    schema=[
        Field(name="label", dtype=Float64),
        Field(name="ordinary_label", dtype=Float64, tags=ORDINARY),
        *fields(
            risk,
            {"last": UNKNOWN, "run_age": UNKNOWN, "age_positive": LONG_AGO, "age_zero": LONG_AGO},
        ),
    ],
    tags={"recent": "16"},
    description="Transactions of a terminal that became known as genuine or fraud, and the share of fraud.",
    owner="fraud",
)

views: list[FeatureView] = [transaction_request, customer_transactions, terminal_labels]
fraud = FeatureService(
    name="fraud",
    features=views,
    owner="fraud",
    description="Input of the fraud model, in this order.",
)
