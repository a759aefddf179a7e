//! Set-up as a reader runs it: container/setup.sh and container/wheel.py against wheels and machines made here, without a
//! network.

mod machine;
mod pins;
mod wheels;
