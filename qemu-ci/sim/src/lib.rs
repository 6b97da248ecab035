//! Many switches in one process, virtual time, one seed.
