//! The HTTP server over a made-up state, and a client for it: a plain socket, so that tests can
//! misbehave with it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sensor::http::serve;
use sensor::state::State;
use sensor::web_config::Web;
use serde_json::Value;
use tokio::sync::watch;

/// How long a test waits for what should come at once.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A server on a thread of its own, with one event loop, as the daemon has.
pub struct Server {
    pub address: SocketAddr,
    /// What it answers from; tests change it as the daemon does.
    pub state: Arc<State>,
    pub stop: watch::Sender<bool>,
    pub thread: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    pub fn start(state: State) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = watch::channel(false);
        let state = Arc::new(state);
        let shown = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime
                .block_on(async { serve(tokio::net::TcpListener::from_std(listener)?, shown, stopped).await })
        });
        Self { address, state, stop, thread }
    }

    /// A busy one, secured as this web config says.
    pub fn secured(web: Web) -> Self {
        let state = super::state(super::busy(), super::attached(), super::flows());
        state.web.set(web);
        Self::start(state)
    }

    pub fn busy() -> Self {
        Self::start(super::state(super::busy(), super::interfaces(), super::flows()))
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    pub fn ask(&self, method: &str, path: &str) -> Answer {
        let mut stream = self.connect();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: poolwatch\r\n\r\n").expect("it is sent");
        answer(stream)
    }
}

pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        assert_eq!((self.code, self.header("content-type")), (200, Some("application/json")));
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// Reads an answer up to the length that it announces, or to the end.
pub fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(answer) = whole(&bytes) {
            return answer;
        }
        let len = stream.read(&mut buffer).expect("an answer");
        assert!(len > 0, "cut short: {}", String::from_utf8_lossy(&bytes));
        bytes.extend(&buffer[..len]);
    }
}

/// An answer, once all of it is there.
pub fn whole(bytes: &[u8]) -> Option<Answer> {
    let text = str::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().expect("a status");
    let answer = Answer { code, head: head.to_owned(), body: body.to_owned() };
    let len: usize = answer.header("content-length").expect("a length").parse().expect("a number");
    (body.len() >= len).then_some(answer)
}
