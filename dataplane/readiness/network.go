package readiness

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// bound is what a file says that holds on this hardware only.
type bound struct {
	macs   []string // hardware addresses that must be there
	names  []string // names of network cards that must be there
	static []string // addresses of the present network
}

// networkFiles are the files that configure the network, and what reads each kind.
var networkFiles = []struct {
	patterns []string
	read     func(name string, content []byte) bound
}{
	{[]string{"etc/udev/rules.d/*.rules"}, udevRules},
	{[]string{"etc/sysconfig/network-scripts/ifcfg-*", "etc/sysconfig/network/ifcfg-*"}, ifcfg},
	{[]string{"etc/netplan/*.yaml", "etc/netplan/*.yml"}, netplan},
	{[]string{"etc/systemd/network/*.link", "etc/systemd/network/*.network"}, networkd},
	{[]string{"etc/NetworkManager/system-connections/*"}, networkManager},
	{[]string{"etc/network/interfaces", "etc/network/interfaces.d/*"}, interfaces},
}

// network checks each file that configures it. Nothing of it is mended by a step: the machine is reached through it now.
func (c *checker) network() {
	for _, r := range networkFiles {
		for _, name := range c.glob(r.patterns...) {
			if strings.HasSuffix(name, ".bak") || strings.HasSuffix(name, ".off") || strings.HasSuffix(name, "~") {
				continue
			}
			c.boundNetwork(name, r.read(name, c.read(name)))
		}
	}
}

// boundNetwork reports what one file holds.
func (c *checker) boundNetwork(name string, b bound) {
	subject := "/" + name
	if len(b.macs) > 0 {
		c.report(Finding{
			Code: NetworkMAC, Severity: Degrades, Targets: Targets(), Subject: subject, What: "it is bound to hardware addresses: " + joined(b.macs),
			Why: "the network cards there have others: the configuration applies to none, or the card gets another name", Commands: unbindMAC(name),
		})
	}
	for _, targets := range [][]Target{{Azure}, {VMware, KVM, Metal}} {
		var lost []string
		for _, n := range b.names {
			if !c.nameHolds(n, targets[0]) {
				lost = append(lost, n)
			}
		}
		if len(lost) == 0 {
			continue
		}
		c.report(Finding{
			Code: NetworkName, Severity: Degrades, Targets: targets, Subject: subject, What: "it configures network cards by name: " + joined(lost),
			Why:      "there the card may have another name (Azure: eth0; VMware: ens192 and the like; KVM: enp1s0, ens3), and stays without an address",
			Commands: []string{"# add a configuration that matches every card and asks for an address, such as", catchAll},
		})
	}
	if len(b.static) > 0 {
		c.report(Finding{
			Code: NetworkStatic, Severity: Note, Targets: []Target{Azure, VMware, KVM}, Subject: subject, What: "the address is fixed: " + joined(b.static),
			Why:      "in another network it is wrong. Azure gives addresses by DHCP only: map the address in the recovery target",
			Commands: []string{"# let the card ask by DHCP there, or keep the network's addresses"},
		})
	}
}

// catchAll is a configuration that fits any card that nothing else fits.
const catchAll = `printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' > /etc/systemd/network/99-farshore.network`

// nameHolds reports whether a card has that name there.
func (c *checker) nameHolds(name string, target Target) bool {
	if !strings.HasPrefix(name, "eth") {
		return false
	}
	if target == Azure {
		return true // no name by place is made for Hyper-V's cards
	}
	for _, k := range c.kernels {
		if k.entry != nil && argument(k.entry.options, "net.ifnames") == "0" {
			return true
		}
	}
	return c.exists("etc/systemd/network/99-default.link") && c.size("etc/systemd/network/99-default.link") == 0
}

func joined(words []string) string {
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}

func unbindMAC(name string) []string {
	switch {
	case strings.HasSuffix(name, ".rules"):
		return []string{fmt.Sprintf("mv /%s /%s.off", name, name)}
	case strings.HasPrefix(path.Base(name), "ifcfg-"):
		return []string{fmt.Sprintf("sed -i.bak -E '/^(HWADDR|MACADDR)=/d' /%s", name)}
	case strings.HasPrefix(name, "etc/netplan/"):
		return []string{fmt.Sprintf("# replace macaddress under match: by name: \"e*\" in /%s", name), "netplan generate"}
	case strings.HasPrefix(name, "etc/NetworkManager/"):
		return []string{fmt.Sprintf("sed -i.bak -E '/^mac-address=/d' /%s", name), "nmcli connection reload"}
	}
	return []string{fmt.Sprintf("# replace the hardware address by Name=en* eth* in /%s", name)}
}

// cards are names of network cards, and not of something that software makes.
var cards = regexp.MustCompile(`^(eth\d+|em\d+(_\d+)?|p\d+p\d+(_\d+)?|en[ospx][0-9a-f]\w*)$`)

func cardName(name string) bool { return cards.MatchString(name) }

// udevRules reads rules that give a card its name by its address or its place.
func udevRules(_ string, content []byte) bound {
	var b bound
	for _, l := range lines(content) {
		if !strings.Contains(l.text, `"net"`) || !strings.Contains(l.text, "NAME=") {
			continue
		}
		if _, address, ok := strings.Cut(l.text, `ATTR{address}=="`); ok {
			address, _, _ = strings.Cut(address, `"`)
			b.macs = append(b.macs, address)
		}
	}
	return b
}

func ifcfg(name string, content []byte) bound {
	var b bound
	values := assignments(content)
	device := values["DEVICE"]
	if device == "" {
		device = strings.TrimPrefix(path.Base(name), "ifcfg-")
	}
	if !cardName(device) {
		return b
	}
	for _, key := range []string{"HWADDR", "LLADDR"} {
		if values[key] != "" {
			b.macs = append(b.macs, values[key])
		}
	}
	b.names = []string{device}
	for _, key := range []string{"IPADDR", "IPADDR0", "IPADDR1"} {
		if values[key] != "" {
			b.static = append(b.static, values[key])
		}
	}
	return b
}

// netplan reads the cards of a netplan file. What it cannot parse, netplan cannot either.
func netplan(_ string, content []byte) bound {
	var file struct {
		Network struct {
			Ethernets map[string]struct {
				Match *struct {
					MAC  string `yaml:"macaddress"`
					Name any    `yaml:"name"`
				} `yaml:"match"`
				Addresses []any `yaml:"addresses"`
			} `yaml:"ethernets"`
		} `yaml:"network"`
	}
	var b bound
	if err := yaml.Unmarshal(content, &file); err != nil {
		return b
	}
	for name, card := range file.Network.Ethernets {
		switch {
		case card.Match == nil:
			if cardName(name) {
				b.names = append(b.names, name)
			}
		case card.Match.MAC != "":
			b.macs = append(b.macs, card.Match.MAC)
		default:
			if n, ok := card.Match.Name.(string); ok && cardName(n) {
				b.names = append(b.names, n)
			}
		}
		for _, a := range card.Addresses {
			if text, ok := a.(string); ok {
				b.static = append(b.static, text)
			}
		}
	}
	return b
}

// setting is a line of a file of the form that systemd and NetworkManager use.
type setting struct{ section, key, value string }

func settings(content []byte) []setting {
	var all []setting
	section := ""
	for _, l := range lines(content) {
		if name, ok := strings.CutPrefix(l.text, "["); ok {
			section = strings.TrimSuffix(name, "]")
			continue
		}
		key, value, ok := strings.Cut(l.text, "=")
		if ok {
			all = append(all, setting{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return all
}

func networkd(name string, content []byte) bound {
	var b bound
	for _, s := range settings(content) {
		switch {
		case s.section == "Match" && (s.key == "MACAddress" || s.key == "PermanentMACAddress"):
			b.macs = append(b.macs, strings.Fields(s.value)...)
		case s.section == "Match" && s.key == "Name" && strings.HasSuffix(name, ".network"):
			b.names = append(b.names, slices.DeleteFunc(strings.Fields(s.value), func(n string) bool { return !cardName(n) })...)
		case (s.section == "Network" || s.section == "Address") && s.key == "Address":
			b.static = append(b.static, s.value)
		}
	}
	return b
}

func networkManager(_ string, content []byte) bound {
	var b bound
	for _, s := range settings(content) {
		switch {
		case s.key == "mac-address" && s.value != "":
			b.macs = append(b.macs, s.value)
		case s.section == "connection" && s.key == "interface-name" && cardName(s.value):
			b.names = append(b.names, s.value)
		case (s.section == "ipv4" || s.section == "ipv6") && strings.HasPrefix(s.key, "address") && strings.TrimLeft(s.key, "adres0123456789") == "":
			b.static = append(b.static, s.value)
		}
	}
	return b
}

func interfaces(_ string, content []byte) bound {
	var b bound
	for _, l := range lines(content) {
		words := strings.Fields(l.text)
		switch {
		case words[0] == "iface" && len(words) > 1 && cardName(words[1]):
			b.names = append(b.names, words[1])
		case words[0] == "address" && len(words) > 1:
			b.static = append(b.static, words[1])
		case words[0] == "hwaddress" && len(words) > 1:
			b.macs = append(b.macs, words[len(words)-1])
		}
	}
	return b
}
