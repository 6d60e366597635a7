//! Named, joined background tasks.
