//! What is followed, started and watched.
