//! Tests of the store as a whole. Crashes are in a program of their own: they take longest.

mod damage;
mod format;
mod full;
mod recover;
mod store;
mod tables;
mod threads;
