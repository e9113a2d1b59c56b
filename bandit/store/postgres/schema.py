"""
The tables, as the migrations leave them; `tests/migrations` compares the two.

Every key begins with the policy's id, but for that of credentials, which are of no policy: so the
whole schema shards by policy.  Below `decision`
it goes on with `day`, a pure function of the decision's id, by which those tables are partitioned.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

# NOTIFY: the payload is the id of a policy whose versions moved, or something else that moved.
CHANGED = "bandit_changed"

metadata = MetaData()

policy = Table(
    "policy",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("schema_id", Text, nullable=False),
    Column("hmac_key", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("learned_version", BigInteger, nullable=False, server_default=text("0")),
    Column("is_archived", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("budget", JSONB),  # SQL null: none is set
    Column("budget_epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("tenant", Text, nullable=False, server_default=text("'default'")),
    UniqueConstraint("tenant", "name"),
)

# Keys and client certificates; nothing is ever deleted here.
credential = Table(
    "credential",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("digest", LargeBinary),  # SHA-256 of the secret; null: a certificate
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("calls_per_second", Double),
    Column("max_batch", BigInteger),
    Column("version", BigInteger, nullable=False),  # of all of them, at the last change of this one
)

policy_event = Table(
    "policy_event",
    metadata,
    Column("policy_id", Uuid, ForeignKey("policy.id"), primary_key=True),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("who", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
)

arm = Table(
    "arm",
    metadata,
    Column("policy_id", Uuid, ForeignKey("policy.id"), primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("context_window_tokens", BigInteger),
    Column("explore_limit_usd", Double),
)

price = Table(
    "price",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("arm_id", Uuid, primary_key=True),
    Column("valid_from", DateTime(timezone=True), primary_key=True),
    Column("input_usd_per_million", Double, nullable=False),
    Column("output_usd_per_million", Double, nullable=False),
    Column("fee_usd", Double, nullable=False),
    ForeignKeyConstraint(["policy_id", "arm_id"], ["arm.policy_id", "arm.id"]),
)

arm_prior = Table(
    "arm_prior",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("arm_id", Uuid, primary_key=True),
    Column("head", SmallInteger, primary_key=True, autoincrement=False),
    Column("schema_id", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("strength", Double, nullable=False),
    Column("sums", LargeBinary, nullable=False),  # see `codecs.prior_bytes`
    ForeignKeyConstraint(["policy_id", "arm_id"], ["arm.policy_id", "arm.id"]),
)

# The order of the columns is the order of the codec (`codecs.decision_row`).
decision = Table(
    "decision",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("arm_id", Uuid, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("context", LargeBinary, nullable=False),  # (features,) float32, little-endian
    Column("schema_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("quality_weight", Double),  # the preference, or else the willingness to pay
    Column("cost_weight", Double),
    Column("latency_weight", Double),
    Column("willingness_to_pay_usd", Double),
    Column("input_tokens", BigInteger, nullable=False),
    Column("list_usd", Double, nullable=False),
    Column("input_usd_per_million", Double),  # the price in force; all three null: none
    Column("output_usd_per_million", Double),
    Column("fee_usd", Double),
    Column("policy_version", BigInteger, nullable=False),
    Column("snapshot_version", BigInteger, nullable=False),
    Column("candidates", LargeBinary, nullable=False),  # (arms,) of `CANDIDATE`
    Column("labels", JSON, nullable=False),  # not jsonb, which refuses the character U+0000
    Column("budget_epoch", BigInteger),  # null, like all that follows: no budget
    Column("budget_price", Double),
    Column("budget_balance", Double),
    Column("budget_utilisation", Double),  # null: no target, or nothing spent yet
    Column("budget_overshoot_usd", Double),
    Column("budget_expected_usd", Double),
    Column("budget_reserved_usd", Double),  # null, like the name: no limit
    Column("budget_limit_name", Text),
    Column("deadlines", LargeBinary),  # see `deadlines.deadlines_bytes`; null: no windows
    Column("is_deferred", Boolean),  # null: no
    Column("activated_at", DateTime(timezone=True)),  # null: not, or not deferred
    postgresql_partition_by="RANGE (day)",
)

outcome = Table(
    "outcome",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("decision_id", Uuid, primary_key=True),
    Column("head", SmallInteger, primary_key=True, autoincrement=False),
    Column("source", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("observed_at", DateTime(timezone=True)),
    postgresql_partition_by="RANGE (day)",
)

contribution = Table(
    "contribution",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("decision_id", Uuid, primary_key=True),
    Column("head", SmallInteger, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    postgresql_partition_by="RANGE (day)",
)

# An append-only queue: see docs/decisions/0004-outcome-queue.md.
dirty_key = Table(
    "dirty_key",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("ticket", BigInteger, Identity(always=True), primary_key=True),
    Column("decision_id", Uuid, nullable=False),
    Column("head", SmallInteger, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),  # -infinity: at once
    # Whether it is the close of a window that it waits for.
    Column("is_held", Boolean, nullable=False, server_default=text("false")),
    Index("dirty_key_due", "policy_id", "due_at", "ticket"),
    Index(
        "dirty_key_postponed",
        "policy_id",
        postgresql_where=text("not is_held and due_at > '-infinity'::timestamptz"),
    ),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_threshold": "1000",
    },
)

posterior = Table(
    "posterior",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("schema_id", Text, primary_key=True),
    Column("arm_id", Uuid, primary_key=True),
    Column("head", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("epoch", DateTime(timezone=True), nullable=False),
    Column("observations", BigInteger, nullable=False),
    Column("weight", Double, nullable=False),
    Column("sums", LargeBinary, nullable=False),  # see `codecs.sums_bytes`
    Column("alarms", BigInteger, nullable=False, server_default=text("0")),
    Column("alarmed_at", DateTime(timezone=True)),
)

# Outcomes of decisions made at or before `at` count `weight` of what they did.
alarm = Table(
    "alarm",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("arm_id", Uuid, primary_key=True),
    Column("head", SmallInteger, primary_key=True, autoincrement=False),
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("weight", Double, nullable=False),
    Column("fading_hours", Double),  # null: later outcomes do not fade
    Column("raised_at", DateTime(timezone=True), server_default=text("now()")),  # null: not known
)

drift_monitor = Table(
    "drift_monitor",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("arm_id", Uuid, primary_key=True),
    Column("head", SmallInteger, primary_key=True, autoincrement=False),
    Column("latest_at", DateTime(timezone=True), nullable=False),
    Column("grown_at", DateTime(timezone=True)),
    Column("detector", Text, nullable=False),
    Column("observations", BigInteger, nullable=False),
    Column("memory", LargeBinary, nullable=False),  # see `codecs.memory_bytes`
)

# Outcome rows that do not count, though they stay; nothing is ever deleted here.
exclusion = Table(
    "exclusion",
    metadata,
    Column("policy_id", Uuid, ForeignKey("policy.id"), primary_key=True),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("source", Text),  # null: of any source
    Column("received_after", DateTime(timezone=True)),  # null: from the beginning
    Column("received_until", DateTime(timezone=True), nullable=False),
    Column("lifted_at", DateTime(timezone=True)),  # null: in force
)

# What of the log cannot be learned.
quarantine = Table(
    "quarantine",
    metadata,
    Column("policy_id", Uuid, ForeignKey("policy.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("payload", LargeBinary),
)

# The learned state at a moment, with what then was in force; its posteriors are beneath.
posterior_snapshot = Table(
    "posterior_snapshot",
    metadata,
    Column("policy_id", Uuid, ForeignKey("policy.id"), primary_key=True),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("reason", Text, nullable=False),
    Column("learned_version", BigInteger, nullable=False),
    Column("pending", BigInteger, nullable=False),
    Column("alarms", JSONB, nullable=False),  # see `history.py`
    Column("exclusions", JSONB, nullable=False),  # ids of those in force
)

posterior_history = Table(
    "posterior_history",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("snapshot_id", BigInteger, primary_key=True, autoincrement=False),
    Column("schema_id", Text, primary_key=True),
    Column("arm_id", Uuid, primary_key=True),
    Column("head", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("epoch", DateTime(timezone=True), nullable=False),
    Column("observations", BigInteger, nullable=False),
    Column("weight", Double, nullable=False),
    Column("sums", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["policy_id", "snapshot_id"],
        ["posterior_snapshot.policy_id", "posterior_snapshot.id"],
        ondelete="CASCADE",
    ),
)

# Updated in place, many times a second: half of each page is left for it.
budget_account = Table(
    "budget_account",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("balance", Double, nullable=False),
    Column("decisions", BigInteger, nullable=False),
    Column("spent_usd", Double, nullable=False),
    postgresql_with={"fillfactor": "50"},
)

allowance = Table(
    "allowance",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("taken", Double, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    postgresql_with={"fillfactor": "50"},
)

# What decisions hold of a window's limit until their cost is known.
reservation = Table(
    "reservation",
    metadata,
    Column("policy_id", Uuid, primary_key=True),
    Column("decision_id", Uuid, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("reserved_usd", Double, nullable=False),
    Column("expected_usd", Double, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Index("reservation_expiry", "policy_id", "expires_at"),
)

PARTITIONED = (decision, outcome, contribution)
