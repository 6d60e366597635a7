//! The vocabulary: names, state and verdict, executions, tests, items.
