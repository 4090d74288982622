package rescue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"farshore/dataplane/host"
)

// The network is looked at this often, until ctx is done: cables are plugged in late, and drivers take their time.
const (
	lookEvery   = time.Second
	askFor      = 10 * time.Second // one attempt to get a lease
	leastLease  = time.Minute
	resolvFile  = "/etc/resolv.conf"
	carrierFlag = net.FlagRunning
)

// past is a deadline that is over.
var past = time.Unix(1, 0)

// Network configures the network cards: by DHCP, or one of them by an address of its own.
type Network struct {
	Static string // "" or "dhcp": DHCP on each card; else as the kernel's own ip= has it: ADDRESS::GATEWAY:NETMASK:NAME:CARD:off:DNS
	Log    *slog.Logger

	up chan string
}

// NewNetwork makes one; it does nothing before Run.
func NewNetwork(static string, log *slog.Logger) *Network {
	return &Network{Static: static, Log: log, up: make(chan string, 1)}
}

// Up waits until one card has an address, which it gives.
func (n *Network) Up(ctx context.Context) (string, error) {
	select {
	case address := <-n.up:
		return address, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (n *Network) isUp(address string) {
	select {
	case n.up <- address:
	default: // another card was first
	}
}

// Run configures cards as they come until ctx is done.
func (n *Network) Run(ctx context.Context) error {
	static, err := parseStatic(n.Static)
	if err != nil {
		return stuck("read the address on the kernel's command line", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	begun := map[string]bool{}
	for tick := time.NewTicker(lookEvery); ; {
		links, err := netlink.LinkList()
		if err != nil {
			n.Log.Warn("the network cards cannot be listed", "err", err)
		}
		for _, link := range links {
			name := link.Attrs().Name
			if link.Attrs().Flags&net.FlagUp == 0 {
				if err := netlink.LinkSetUp(link); err != nil {
					n.Log.Warn("a network card cannot be switched on", "card", name, "err", err)
				}
			}
			if begun[name] || link.Attrs().Flags&net.FlagLoopback != 0 || link.Type() != "device" || link.Attrs().Flags&carrierFlag == 0 {
				continue
			}
			if static != nil && static.card != "" && static.card != name {
				continue
			}
			begun[name] = true
			g.Go(func() error { return n.card(ctx, link, static) })
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return g.Wait()
		case <-tick.C:
		}
	}
}

// card gives one card its address, and keeps it.
func (n *Network) card(ctx context.Context, link netlink.Link, static *address) error {
	name := link.Attrs().Name
	if static != nil {
		if err := static.apply(link); err != nil {
			return stuck("give "+name+" the address "+static.at.String(), err)
		}
		n.isUp(static.at.String() + " on " + name)
		return nil
	}
	for over := ctx.Err(); over == nil; {
		a, lease, err := ask(ctx, name)
		if err == nil {
			err = a.apply(link)
		}
		if err != nil {
			n.Log.Warn("no address by DHCP; trying on", "card", name, "err", err)
			over = host.Pause(ctx, lookEvery)
			continue
		}
		n.isUp(a.at.String() + " on " + name)
		over = host.Pause(ctx, max(lease/2, leastLease))
	}
	return nil
}

// ask gets a lease.
func ask(ctx context.Context, card string) (*address, time.Duration, error) {
	client, err := nclient4.New(card)
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	lease, err := client.Request(ctx)
	if err := errors.Join(err, client.Close()); err != nil {
		return nil, 0, err
	}
	given := lease.ACK
	ip, ok := netip.AddrFromSlice(given.YourIPAddr.To4())
	bits, _ := given.SubnetMask().Size()
	if !ok || bits == 0 {
		return nil, 0, fmt.Errorf("a lease of %v/%v", given.YourIPAddr, given.SubnetMask())
	}
	a := &address{at: netip.PrefixFrom(ip, bits), domain: given.DomainName()}
	for _, r := range given.Router() {
		if gateway, ok := netip.AddrFromSlice(r.To4()); ok && !a.gateway.IsValid() {
			a.gateway = gateway
		}
	}
	for _, s := range given.DNS() {
		a.names = append(a.names, s.String())
	}
	return a, given.IPAddressLeaseTime(leastLease), nil
}

// address is what a card is given.
type address struct {
	at      netip.Prefix
	gateway netip.Addr // none if it is not valid
	names   []string   // servers that know names
	domain  string
	card    string // of a static address; empty: any
}

// parseStatic reads the kernel's form of a static address (Documentation/admin-guide/nfs/nfsroot.rst); nil means DHCP.
func parseStatic(text string) (*address, error) {
	if text == "" || text == "dhcp" || strings.HasSuffix(text, ":dhcp") {
		return nil, nil
	}
	const client, gateway, mask, card, fields = 0, 2, 3, 5, 9
	parts := append(strings.Split(text, ":"), make([]string, fields)...)
	ip, err := netip.ParseAddr(parts[client])
	if err != nil {
		return nil, fmt.Errorf("ip=%s: %w", text, err)
	}
	bits, size := net.IPMask(net.ParseIP(parts[mask]).To4()).Size()
	if size == 0 {
		return nil, fmt.Errorf("ip=%s: %q is no netmask", text, parts[mask])
	}
	a := &address{at: netip.PrefixFrom(ip, bits), card: parts[card]}
	if parts[gateway] != "" {
		if a.gateway, err = netip.ParseAddr(parts[gateway]); err != nil {
			return nil, fmt.Errorf("ip=%s: %w", text, err)
		}
	}
	for _, server := range parts[7:fields] {
		if server != "" {
			a.names = append(a.names, server)
		}
	}
	return a, nil
}

// apply configures a card.
func (a *address) apply(link netlink.Link) error {
	at := &net.IPNet{IP: a.at.Addr().AsSlice(), Mask: net.CIDRMask(a.at.Bits(), a.at.Addr().BitLen())}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: at}); err != nil {
		return fmt.Errorf("set %v: %w", a.at, err)
	}
	if a.gateway.IsValid() {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: a.gateway.AsSlice()}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("set the gateway %v: %w", a.gateway, err)
		}
	}
	if len(a.names) == 0 {
		return nil
	}
	text := ""
	if a.domain != "" {
		text = "search " + a.domain + "\n"
	}
	for _, s := range a.names {
		text += "nameserver " + s + "\n"
	}
	return os.WriteFile(resolvFile, []byte(text), 0o644)
}
