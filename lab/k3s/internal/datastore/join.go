package datastore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// joinRetry is how often a joining server asks again while the cluster cannot take a learner.
const joinRetry = time.Second

var errDuplicateName = errors.New("duplicate node name found, please use a unique name for this node")

// Join adds this server to a cluster as a learner and starts etcd. listMembers asks the server that the configuration
// names (/db/info). Busy or unhealthy clusters are retried every second; anything else is returned.
func (e *Etcd) Join(ctx context.Context, serverHost string, listMembers func(context.Context) ([]*etcdserverpb.Member, error)) error {
	last := ""
	for {
		err := e.join(ctx, serverHost, listMembers)
		if err == nil {
			return nil
		}
		if !retriable(err) {
			return fmt.Errorf("etcd cluster join failed: %w", err)
		}
		if err.Error() != last {
			last = err.Error()
			logrus.Infof("Waiting for other members to finish joining etcd cluster: %v", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(joinRetry):
		}
	}
}

type noMemberList struct{ error }

func retriable(err error) bool {
	var none noMemberList
	if errors.As(err, &none) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpctypes.ErrTooManyLearners) || errors.Is(err, rpctypes.ErrUnhealthy) ||
		errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) {
		return true
	}
	if s, ok := status.FromError(err); ok && (s.Code() == codes.Unavailable || s.Code() == codes.DeadlineExceeded) {
		return true
	}
	// The client may hand on the server's text without its type.
	for _, e := range []error{rpctypes.ErrTooManyLearners, rpctypes.ErrUnhealthy, rpctypes.ErrMemberNotEnoughStarted} {
		if strings.Contains(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

func (e *Etcd) join(ctx context.Context, serverHost string, listMembers func(context.Context) ([]*etcdserverpb.Member, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	known, err := listMembers(ctx)
	if err != nil {
		return noMemberList{err}
	}
	endpoint := pickEndpoint(known, serverHost, e.NodeIP)
	if endpoint == "" {
		return noMemberList{errors.New("no voting member to join")}
	}
	client, err := e.NewClient(endpoint)
	if err != nil {
		return err
	}
	defer client.Close()
	list, err := client.MemberList(ctx)
	if err != nil {
		return noMemberList{err}
	}
	cluster, present, err := plan(list.Members, e.Name, e.NodeName, e.NodeIP)
	if err != nil {
		// A new name next time, when the node name was fixed or the old member removed.
		if rmErr := os.Remove(e.nameFile()); rmErr != nil {
			logrus.Errorf("Failed to remove etcd name file %s: %v", e.nameFile(), rmErr)
		}
		return err
	}
	self := e.Name + "=" + e.peerURL()
	if !present {
		logrus.Debugf("Adding member %s to etcd cluster %v", self, cluster)
		if _, err := client.MemberAddAsLearner(ctx, []string{e.peerURL()}); err != nil {
			return err
		}
		logrus.Infof("Added member %s to etcd cluster %v as learner", self, cluster)
		cluster = append(cluster, self)
	}
	logrus.Infof("Starting etcd to join cluster with members %v", cluster)
	return e.start(strings.Join(cluster, ","), "existing", false)
}

// pickEndpoint returns the one member that is asked for the add: the one named by `server`, else the first listed.
func pickEndpoint(members []*etcdserverpb.Member, serverHost, ownIP string) string {
	first := ""
	for _, m := range members {
		if m.IsLearner {
			continue
		}
		for _, c := range m.ClientURLs {
			u, err := url.Parse(c)
			if err != nil || u.Hostname() == ownIP {
				continue
			}
			if u.Hostname() == serverHost {
				return c
			}
			if first == "" {
				first = c
			}
		}
	}
	return first
}

// plan returns name=peerURL of every member as the joining one must know them, and whether it is listed already (added
// by an earlier try that did not get as far as starting). A member of the same node under another name is an error.
func plan(members []*etcdserverpb.Member, name, nodeName, ip string) (cluster []string, present bool, err error) {
	for _, m := range members {
		if len(m.PeerURLs) == 0 {
			continue
		}
		u, err := url.Parse(m.PeerURLs[0])
		if err != nil {
			return nil, false, err
		}
		memberName := m.Name
		// A member that never started has no name; at our address it is us.
		if memberName == "" && u.Hostname() == ip {
			memberName = name
		}
		if memberName == name && u.Hostname() == ip {
			present = true
		}
		node := memberName
		if i := strings.LastIndex(memberName, "-"); i > 1 {
			node = memberName[:i]
		}
		if memberName != name && node == nodeName {
			return nil, false, errDuplicateName
		}
		cluster = append(cluster, memberName+"="+m.PeerURLs[0])
	}
	return cluster, present, nil
}
