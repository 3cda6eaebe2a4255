//! Copies memory in whole pages and folios.
#![cfg_attr(not(feature = "std"), no_std)]
