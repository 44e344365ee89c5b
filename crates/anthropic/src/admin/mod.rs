//! Changes: their requests, the responses, and whether they took effect.

pub mod request;

pub mod result;

pub mod guide;

pub mod real;

pub mod write;
