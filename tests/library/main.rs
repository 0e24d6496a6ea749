//! What operators share: layouts, views, devices, launches, and what `verify` offers.

mod bindings;
mod compare;
mod device;
mod layout;
mod modelled;
