//! What people do with Docker, on networks of pontoon's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{HOST, OUTSIDE};

use super::{Docker, docker_test};
use crate::Test;
use crate::daemon::{PATIENCE, until};
use crate::edge::try_connect;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        docker_test("docker/web-db-client", web_db_client),
        docker_test("docker/icc-false", icc_false),
        docker_test("docker/internal", internal),
        docker_test("docker/connect-and-disconnect", connect_and_disconnect),
        docker_test("docker/published", published),
        docker_test("docker/names-over-tcp", names_over_tcp),
    ]
}

/// What a web server in a container says when it is asked for `/NAME`.
pub(super) fn fetch(
    from: &Namespace,
    own: Ipv4Addr,
    target: (Ipv4Addr, u16),
    name: &str,
) -> Result<String, std::io::Error> {
    let mut stream: TcpStream = try_connect(from, (own, 0), target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /{name} HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}

impl Docker {
    /// Starts a web server that says its own name at `/name`.
    pub(crate) fn web(&self, name: &str, options: &str) -> String {
        let script = format!("mkdir -p /www && echo -n {name} > /www/name && exec httpd -f -h /www");
        let mut arguments = vec!["run", "-d", "--name", name, "--hostname", name];
        arguments.extend(options.split_whitespace());
        arguments.extend(["box", "sh", "-c", &script]);
        let answer = self.ask(&arguments);
        assert_eq!(answer.code, Some(0), "docker run {options}: {}", answer.stderr);
        until("the web server listens", || self.can(name, "netstat -lnt | grep -q ':80 '"));
        answer.stdout.trim_end().to_owned()
    }

    /// Starts a container that does nothing.
    pub(crate) fn idle(&self, name: &str, options: &str) -> String {
        self.ok(&format!("run -d --name {name} {options} box sleep 100000"))
    }

    /// A container's address on a network.
    pub(crate) fn address(&self, container: &str, network: &str) -> Ipv4Addr {
        let seen = self.inspect(&format!("inspect {container}"));
        let address = &seen["NetworkSettings"]["Networks"][network]["IPAddress"];
        let address = address.as_str().unwrap_or_default();
        address.parse().unwrap_or_else(|_| panic!("{container} has no address on {network}: {seen}"))
    }
}

/// The setup of a small web site, as a compose file would make it.
fn web_db_client(docker: &mut Docker) {
    docker.ok("network create -d pontoon front");
    docker.ok("network create -d pontoon --ipam-driver pontoon --subnet 10.77.0.0/24 back");
    docker.web("db", "--network back --network-alias database");
    docker.web("web", "--network front -p 8080:80");
    docker.ok("network connect back web");
    docker.idle("client", "--network front");

    // Names, in the networks that both are on, and nowhere else.
    assert_eq!(docker.shell("client", "wget -qO- http://web/name"), "web");
    assert_eq!(docker.shell("web", "wget -qO- http://db/name"), "db");
    assert_eq!(docker.shell("web", "wget -qO- http://database/name"), "db");
    assert!(!docker.can("client", "wget -T 2 -qO- http://db/name"), "another network's name");
    let db = docker.address("db", "back");
    assert!(!docker.can("client", &format!("wget -T 2 -qO- http://{db}/name")), "another network's address");

    // The published port, from everywhere.
    let everywhere = Ipv4Addr::UNSPECIFIED;
    assert_eq!(fetch(&docker.outside.machine, OUTSIDE, (HOST, 8080), "name").unwrap(), "web");
    for target in [Ipv4Addr::LOCALHOST, HOST] {
        assert_eq!(
            fetch(&docker.daemon.host, everywhere, (target, 8080), "name").unwrap(),
            "web",
            "{target}"
        );
    }
    for client in ["client", "web", "db"] {
        assert_eq!(
            docker.shell(client, &format!("wget -qO- http://{HOST}:8080/name")),
            "web",
            "from {client}"
        );
    }
    // And out.
    assert!(docker.can("client", &format!("ping -c 1 -W 5 {OUTSIDE}")));

    docker.check_kernel();
    for container in ["client", "web", "db"] {
        docker.ok(&format!("rm -f {container}"));
    }
    docker.ok("network rm front back");
    docker.nothing_is_left();
}

impl Docker {
    /// Nothing of containers and networks is left: no device, no endpoint, no publication, no network.
    pub(crate) fn nothing_is_left(&self) {
        assert_eq!(self.stray_devices(), Vec::<String>::new());
        for list in ["network ls -q", "port ls -q", "ports -q"] {
            assert_eq!(self.daemon.ok(list), "", "pontoon {list}");
        }
        let links = crate::survive::links(&self.daemon);
        assert!(
            links.iter().all(|it| ["lo", pontoon_tools::outside::UPLINK].contains(&it.as_str())),
            "{links:?}"
        );
    }
}

fn icc_false(docker: &mut Docker) {
    docker.ok("network create -d pontoon -o com.docker.network.bridge.enable_icc=false quiet");
    docker.web("ant", "--network quiet -p 8080:80");
    docker.idle("bee", "--network quiet");
    let ant = docker.address("ant", "quiet");
    assert!(!docker.can("bee", &format!("wget -T 2 -qO- http://{ant}/name")));
    assert!(!docker.can("bee", &format!("ping -c 1 -W 1 {ant}")));
    // By the way of the host's published port they may, as with docker0.
    assert_eq!(docker.shell("bee", &format!("wget -qO- http://{HOST}:8080/name")), "ant");
    assert!(docker.can("bee", &format!("ping -c 1 -W 5 {OUTSIDE}")));
}

fn internal(docker: &mut Docker) {
    docker.ok("network create -d pontoon --internal inside");
    docker.web("ant", "--network inside");
    docker.idle("bee", "--network inside");
    assert_eq!(docker.shell("bee", "wget -qO- http://ant/name"), "ant");
    assert_eq!(docker.shell("bee", "ip route | grep default || true"), "");
    assert!(!docker.can("bee", &format!("ping -c 1 -W 1 {OUTSIDE}")));
    assert!(!docker.can("bee", &format!("ping -c 1 -W 1 {HOST}")));
}

fn connect_and_disconnect(docker: &mut Docker) {
    docker.ok("network create -d pontoon --subnet 10.77.1.0/24 one");
    docker.ok("network create -d pontoon --subnet 10.77.2.0/24 --ipam-driver pontoon two");
    docker.web("ant", "--network one");
    docker.web("bee", "--network two");
    assert!(!docker.can("ant", "wget -T 2 -qO- http://bee/name"));
    for round in 0..3 {
        docker.ok("network connect --alias mouse --ip 10.77.2.77 two ant");
        assert_eq!(docker.shell("ant", "wget -qO- http://bee/name"), "bee", "round {round}");
        assert_eq!(docker.shell("bee", "wget -qO- http://10.77.2.77/name"), "ant", "round {round}");
        assert_eq!(docker.shell("bee", "wget -qO- http://mouse/name"), "ant", "round {round}");
        let interfaces = docker.shell("ant", "ls /sys/class/net | tr '\\n' ' '");
        assert_eq!(interfaces.split_whitespace().count(), 3, "{interfaces}");
        docker.ok("network disconnect two ant");
        assert!(!docker.can("ant", "wget -T 2 -qO- http://10.77.2.2/name"), "round {round}");
        assert_eq!(docker.stray_devices(), Vec::<String>::new());
    }
    // An address of the user's own, and the MAC that goes with it.
    docker.idle("cat", "--network one --ip 10.77.1.99");
    assert_eq!(docker.shell("cat", "cat /sys/class/net/eth0/address"), "02:42:0a:4d:01:63");
    assert!(docker.can("ant", "ping -c 1 -W 5 10.77.1.99"));
    for container in ["ant", "bee", "cat"] {
        docker.ok(&format!("rm -f {container}"));
    }
    docker.ok("network rm one two");
    docker.nothing_is_left();
}

fn published(docker: &mut Docker) {
    docker.ok("network create -d pontoon net");
    docker.web("ant", "--network net -p 127.0.0.1:8080:80 -p 8100-8103:80 -p 80 -p 9053:53/udp");
    let ports = docker.daemon.ok("ports");
    for words in ["127.0.0.1:8080:80/tcp", "8100:80/tcp", "9053:53/udp"] {
        assert!(ports.contains(words), "{words} is not in\n{ports}");
    }
    let everywhere = Ipv4Addr::UNSPECIFIED;
    assert_eq!(fetch(&docker.daemon.host, everywhere, (Ipv4Addr::LOCALHOST, 8080), "name").unwrap(), "ant");
    assert!(
        try_connect(&docker.outside.machine, (OUTSIDE, 0), (HOST, 8080), PATIENCE).is_err(),
        "loopback's alone"
    );
    assert_eq!(fetch(&docker.outside.machine, OUTSIDE, (HOST, 8100), "name").unwrap(), "ant");
    // The first of the range is taken: the next one.
    docker.web("bee", "--network net -p 8100-8103:80");
    assert_eq!(fetch(&docker.outside.machine, OUTSIDE, (HOST, 8101), "name").unwrap(), "bee");
    // Taken altogether: the container does not start, and says why.
    let sentence = docker.refused("run -d --name cat --network net -p 8101:80 box sleep 1000");
    assert!(sentence.contains("8101/tcp is taken by"), "{sentence}");
    docker.ok("rm -f cat");
    // Freed by whoever had it.
    docker.ok("stop -t 0 bee");
    docker.web("dog", "--network net -p 8101:80");
    assert_eq!(fetch(&docker.outside.machine, OUTSIDE, (HOST, 8101), "name").unwrap(), "dog");
    for container in ["ant", "bee", "dog"] {
        docker.ok(&format!("rm -f {container}"));
    }
    docker.ok("network rm net");
    docker.nothing_is_left();
}

/// The Engine's name server answers over TCP as over UDP; busybox asks over UDP alone, so here somebody asks by hand.
fn names_over_tcp(docker: &mut Docker) {
    docker.ok("network create -d pontoon net");
    docker.web("ant", "--network net");
    docker.idle("bee", "--network net");
    let address = docker.address("ant", "net");
    // Length, id, flags (recursion desired), one question: ant, A, IN (RFC 1035, 4.1 and 4.2.2).
    let query = "\\0\\025\\022\\064\\001\\0\\0\\001\\0\\0\\0\\0\\0\\0\\003ant\\0\\0\\001\\0\\001";
    let answer =
        docker.shell("bee", &format!("printf '{query}' | nc -w 3 127.0.0.11 53 | tail -c 4 | od -An -tu1"));
    let answer: Vec<&str> = answer.split_whitespace().collect();
    assert_eq!(answer.join("."), address.to_string());
}
