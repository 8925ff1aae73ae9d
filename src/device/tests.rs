//! Devices driven in virtual time: a device played by the test registers, keeps alive and answers queries.
