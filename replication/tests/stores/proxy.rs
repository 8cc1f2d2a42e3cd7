//! A bad link: what stands between two members and carries what they say, or not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// One side of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Who has connected.
    Follower,
    /// Who was connected to.
    Primary,
}

/// A connection in between that can be cut, or made silent without being closed.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) weather: Arc<Weather>,
    links: Arc<Mutex<Links>>,
}

#[derive(Default)]
struct Links {
    /// How many there have been.
    made: usize,
    open: Vec<Link>,
    /// Of which one side knows nothing of the end.
    half_open: Vec<TcpStream>,
}

/// What the connection does to what it carries.
#[derive(Default)]
pub(crate) struct Weather {
    /// Nothing is passed on.
    pub(crate) silent: AtomicBool,
    /// Nothing of what the one who has connected says.
    pub(crate) follower_is_silent: AtomicBool,
    /// Nothing of what the other one says.
    pub(crate) primary_is_silent: AtomicBool,
    /// In so many of the next large pieces a bit is flipped.
    pub(crate) damage: AtomicUsize,
    /// Bytes that are passed on in ten milliseconds; 0 for as many as there are.
    pub(crate) pace: AtomicUsize,
}

/// A connection of each side.
struct Link {
    follower: TcpStream,
    primary: TcpStream,
    /// Whether the end of one is to be that of the other.
    joined: Arc<AtomicBool>,
}

impl Weather {
    fn is_silent(&self, says: End) -> bool {
        let own = match says {
            End::Follower => &self.follower_is_silent,
            End::Primary => &self.primary_is_silent,
        };
        self.silent.load(Ordering::SeqCst) || own.load(Ordering::SeqCst)
    }

    /// Passes on what `from` sends until one of the two ends.
    fn carry(&self, says: End, from: &mut TcpStream, to: &mut TcpStream) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            while self.is_silent(says) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let spend = |left: usize| left.checked_sub(1);
            let (order, large) = (Ordering::SeqCst, count > 2000);
            if large && self.damage.fetch_update(order, order, spend).is_ok() {
                // In the first message that is as large.
                bytes[1000] ^= 4;
            }
            let mut left = &bytes[..count];
            while !left.is_empty() {
                let pace = self.pace.load(Ordering::SeqCst);
                let (piece, rest) = left.split_at(if pace == 0 { left.len() } else { pace.min(left.len()) });
                if to.write_all(piece).is_err() {
                    return;
                }
                if pace > 0 {
                    std::thread::sleep(Duration::from_millis(10));
                }
                left = rest;
            }
        }
    }
}

impl Link {
    /// Carries in both directions, in threads of its own.
    fn carry(&self, weather: &Arc<Weather>) {
        for (says, from, to) in [
            (End::Follower, &self.follower, &self.primary),
            (End::Primary, &self.primary, &self.follower),
        ] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (weather, joined) = (Arc::clone(weather), Arc::clone(&self.joined));
            std::thread::spawn(move || {
                weather.carry(says, &mut from, &mut to);
                if joined.load(Ordering::SeqCst) {
                    let _ = to.shutdown(Shutdown::Both);
                }
            });
        }
    }
}

impl Proxy {
    /// Where nobody else is.
    pub(crate) fn to(target: SocketAddr) -> Proxy {
        Proxy::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), target)
    }

    /// At that address.
    pub(crate) fn at(address: SocketAddr, target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let weather = Arc::<Weather>::default();
        let links: Arc<Mutex<Links>> = Arc::default();
        let (weather_now, links_now) = (Arc::clone(&weather), Arc::clone(&links));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(follower), Ok(primary)) = (stream, TcpStream::connect(target)) else {
                    continue;
                };
                let link = Link {
                    follower,
                    primary,
                    joined: Arc::new(AtomicBool::new(true)),
                };
                let mut links = links_now.lock().unwrap();
                link.carry(&weather_now);
                links.made += 1;
                links.open.push(link);
            }
        });
        Proxy {
            address,
            weather,
            links,
        }
    }

    /// How many connections there have been.
    pub(crate) fn made(&self) -> usize {
        self.links.lock().unwrap().made
    }

    fn take(&self) -> Vec<Link> {
        std::mem::take(&mut self.links.lock().unwrap().open)
    }

    /// Ends what there is, in order.
    pub(crate) fn cut(&self) {
        for link in self.take() {
            let _ = link.follower.shutdown(Shutdown::Both);
            let _ = link.primary.shutdown(Shutdown::Both);
        }
    }

    /// Ends what there is as a system does that knows nothing of it: both sides are sent a reset.
    pub(crate) fn reset(&self) {
        for link in self.take() {
            link.joined.store(false, Ordering::SeqCst);
            for stream in [&link.follower, &link.primary] {
                set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
                // Nothing is sent by this. Who carries wakes, and lets go of the socket, too: the last one closes it.
                let _ = stream.shutdown(Shutdown::Read);
            }
        }
    }

    /// Ends one side of what there is. The other one hears nothing any more, and of no end.
    pub(crate) fn lose(&self, end: End) {
        for link in self.take() {
            link.joined.store(false, Ordering::SeqCst);
            let (lost, left) = match end {
                End::Follower => (link.follower, link.primary),
                End::Primary => (link.primary, link.follower),
            };
            let _ = lost.shutdown(Shutdown::Both);
            self.links.lock().unwrap().half_open.push(left);
        }
    }
}
