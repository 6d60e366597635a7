//! The durable store: journal, executions, epoch.
