//! The gRPC face of the gateway.
