package datastore

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	learnerTick     = 15 * time.Second
	learnerMaxStall = 5 * time.Minute
	learnerKey      = "k3s/etcd/learnerProgress"
)

type learnerProgress struct {
	ID               uint64    `json:"id,omitempty"`
	Name             string    `json:"name,omitempty"`
	RaftAppliedIndex uint64    `json:"raftAppliedIndex,omitempty"`
	LastProgress     time.Time `json:"lastProgress,omitempty"`
}

// ManageLearners promotes learners every 15 s while this member leads; one without progress for 5 min is removed.
func (e *Etcd) ManageLearners(ctx context.Context) {
	t := time.NewTicker(learnerTick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := e.manageLearner(ctx); err != nil {
			logrus.Errorf("Failed to manage etcd learners: %v", err)
		}
	}
}

func (e *Etcd) manageLearner(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	status, err := e.Client.Status(ctx, e.loopbackURL())
	if err != nil || status.Header.MemberId != status.Leader {
		return err
	}
	list, err := e.Client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, m := range list.Members {
		if m.IsLearner {
			return e.promote(ctx, m)
		}
	}
	return nil
}

func (e *Etcd) promote(ctx context.Context, m *etcdserverpb.Member) error {
	_, err := e.Client.MemberPromote(ctx, m.ID)
	if err == nil {
		logrus.Infof("Promoted learner %s", m.Name)
		return nil
	}
	logrus.Debugf("Unable to promote learner %s: %v", m.Name, err)

	var p learnerProgress
	r, err := e.Client.Get(ctx, learnerKey)
	if err != nil {
		return err
	}
	if len(r.Kvs) > 0 {
		if err := json.Unmarshal(r.Kvs[0].Value, &p); err != nil {
			return err
		}
	}
	remove := p.track(m, e.appliedIndex(ctx, m), time.Now())
	if remove {
		if _, err := e.Client.MemberRemove(ctx, m.ID); err != nil {
			return err
		}
		logrus.Warnf("Removed learner %s from etcd cluster", m.Name)
		return nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = e.Client.Put(ctx, learnerKey, string(data))
	return err
}

// track notes a learner's applied index and tells whether it stalled for too long.
func (p *learnerProgress) track(m *etcdserverpb.Member, index uint64, now time.Time) (remove bool) {
	if p.ID != m.ID || p.Name != m.Name {
		*p = learnerProgress{ID: m.ID, Name: m.Name, LastProgress: now}
	}
	if index > p.RaftAppliedIndex {
		p.RaftAppliedIndex = index
		p.LastProgress = now
	}
	return now.Sub(p.LastProgress) > learnerMaxStall
}

// appliedIndex asks the learner itself; 0 when it does not answer.
func (e *Etcd) appliedIndex(ctx context.Context, m *etcdserverpb.Member) uint64 {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for _, u := range m.ClientURLs {
		cfg, err := e.clientConfig(u)
		if err != nil {
			return 0
		}
		c, err := clientv3.New(*cfg)
		if err != nil {
			continue
		}
		s, err := c.Status(ctx, u)
		c.Close()
		if err == nil {
			return s.RaftAppliedIndex
		}
	}
	return 0
}
