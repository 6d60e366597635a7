# What a change must pass.
check:
    .ci/run

# All tests; arguments go to `cargo test`.
test *args:
    tests/run {{args}}

# The figures of the README.
bench:
    cargo bench --locked --bench figures

# A gateway under trouble and restarts; `just soak --minutes 60`.
soak *args:
    cargo bench --locked --bench soak -- {{args}}

# The gateway with its three simulated upstreams.
sandbox *args:
    cargo run --release --locked -- serve --sandbox {{args}}

# Finds out anew which functions a start runs (build/startup.txt); needs valgrind and nm.
startup:
    CARGO_PROFILE_DIST_STRIP=none cargo build --profile dist --locked
    build/startup.py target/dist/testgate

# The documentation as a site, in site/.
docs:
    .venv/site/bin/python -m mkdocs build --strict
