//! A pool, a miner and a name server for tests: the pool and the miner speak Stratum over real sockets,
//! the name server is dnsmasq.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::namespace::Namespace;
use super::patience;

pub const AGENT: &str = "XMRig/6.26.0 (Linux x86_64) libuv/1.44.2 gcc/12.2.0";
pub const WALLET: &str =
    "48edfHu7V9Z84YzzMa6fUueoELZ9ZRXq9VetWzYGzKt52XU5xvqgzYnDK9URnRoJMk1j8nLwEVsaSWJ4fhdUyZijBGUicoD";

fn job(id: u32) -> String {
    let blob = "0e0e".repeat(38);
    format!(r#"{{"blob":"{blob}","job_id":"q{id}","target":"b88d0600","algo":"rx/0","height":3100000}}"#)
}

fn login() -> String {
    format!(
        r#"{{"id":1,"jsonrpc":"2.0","method":"login","params":{{"login":"{WALLET}","pass":"x","agent":"{AGENT}","algo":["rx/0","cn/r"]}}}}"#
    )
}

/// Answers each login and each share, and gives a new job after each share, at any number of ports.
pub fn serve_pool(namespace: &Namespace, addresses: &[&str]) {
    for address in addresses {
        let address: SocketAddr = address.parse().expect("an address with a port");
        let listener = namespace.enter(|| TcpListener::bind(address).expect("a TCP port"));
        // Lives as long as the test's process: nobody connects any more by then.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || pool(stream));
            }
        });
    }
}

fn pool(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let mut stream = stream;
    let mut number = 0;
    while let Some(Ok(line)) = lines.next() {
        number += 1;
        let answer = if line.contains("\"login\"") {
            let job = job(number);
            format!(
                r#"{{"id":1,"jsonrpc":"2.0","error":null,"result":{{"id":"s1","job":{job},"status":"OK"}}}}"#
            )
        } else {
            let job = job(number);
            format!(
                "{{\"id\":2,\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{{\"status\":\"OK\"}}}}\n\
                 {{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":{job}}}"
            )
        };
        if stream.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads what it is sent and says nothing.
pub fn serve_silence(namespace: &Namespace, address: &str) {
    let address: SocketAddr = address.parse().expect("an address with a port");
    let listener = namespace.enter(|| TcpListener::bind(address).expect("a TCP port"));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer) {}
            });
        }
    });
}

/// A connection of a miner.
pub struct Miner(TcpStream);

impl Miner {
    /// Connects and says nothing.
    pub fn connect(namespace: &Namespace, pool: &str) -> Self {
        let pool: SocketAddr = pool.parse().expect("an address with a port");
        let stream = namespace.enter(|| TcpStream::connect_timeout(&pool, patience()).expect("a connection"));
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(patience())).expect("a socket");
        Self(stream)
    }

    pub fn log_in(&mut self) {
        self.exchange(&login());
    }

    /// The same, to someone who does not answer.
    pub fn log_in_in_vain(&mut self) {
        self.0.write_all(format!("{}\n", login()).as_bytes()).expect("it is sent");
    }

    pub fn submit(&mut self) {
        let result = "0123456789abcdef".repeat(4);
        self.exchange(&format!(
            r#"{{"id":2,"jsonrpc":"2.0","method":"submit","params":{{"id":"s1","job_id":"q1","nonce":"d8040000","result":"{result}"}}}}"#
        ));
    }

    /// Sends a line and waits for an answer.
    fn exchange(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).expect("it is sent");
        assert!(self.0.read(&mut [0; 4096]).expect("an answer") > 0);
    }
}

/// dnsmasq, which knows these names alone.
pub struct NameServer(Child);

impl NameServer {
    pub fn start(namespace: &Namespace, listen: &str, names: &[(&str, &str)]) -> Self {
        let mut command = namespace.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--no-resolv",
            "--no-hosts",
        ]);
        command.args(["--user=root", "--bind-interfaces", "--local-ttl=120", "--log-facility=-"]);
        command.arg(format!("--listen-address={listen}"));
        command.args(names.iter().map(|(name, address)| format!("--address=/{name}/{address}")));
        Self(command.stderr(Stdio::null()).spawn().expect("dnsmasq is installed"))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks the server for a name's IPv4 address until it answers, and returns that, if there is one.
pub fn resolve(namespace: &Namespace, server: &str, name: &str) -> Option<IpAddr> {
    let since = Instant::now();
    loop {
        let answer = namespace.enter(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
            socket.connect((server, 53)).expect("an address");
            socket.send(&query(name)).expect("it is sent");
            let mut answer = [0; 512];
            socket.recv(&mut answer).ok().map(|len| answer[..len].to_vec())
        });
        if let Some(answer) = answer {
            // The last record of an answer with one address ends in it.
            let has_answer = u16::from_be_bytes([answer[6], answer[7]]) > 0;
            let [.., a, b, c, d] = answer[..] else { panic!("an answer of {} bytes", answer.len()) };
            return has_answer.then(|| IpAddr::from([a, b, c, d]));
        }
        assert!(since.elapsed() < patience(), "{server} does not answer");
    }
}

/// A query for an A record (RFC 1035, 4.1), recursion desired.
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}
