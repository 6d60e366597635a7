//! What an upstream system is to the gateway.
