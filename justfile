# What a change must pass.
check:
    .ci/run

# All tests; arguments go to `cargo test`.
test *args:
    tests/run {{args}}

# The figures of the README.
bench:
    cargo bench --locked

# The gateway with its three simulated upstreams.
sandbox *args:
    cargo run --release --locked -- serve --sandbox {{args}}
