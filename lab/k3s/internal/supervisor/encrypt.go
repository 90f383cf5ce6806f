package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"

	"github.com/sirupsen/logrus"
)

// EncryptionState is the answer of /v1-k3s/encrypt/status.
type EncryptionState struct {
	Stage        string   `json:"stage"`
	ActiveKey    string   `json:"activekey"`
	Enable       *bool    `json:"enable,omitempty"`
	HashMatch    bool     `json:"hashmatch,omitempty"`
	HashError    string   `json:"hasherror,omitempty"`
	InactiveKeys []string `json:"inactivekeys,omitempty"`
}

// EncryptionRequest is the body of PUT /v1-k3s/encrypt/config.
type EncryptionRequest struct {
	Stage *string `json:"stage,omitempty"`
}

// StageRotateKeys is the only stage that can be asked for here.
const StageRotateKeys = "rotate_keys"

// sendEncryptError tells a number; the reason is in the server's log only.
func sendEncryptError(w http.ResponseWriter, code int, err error) {
	id := rand.IntN(100_000)
	logrus.Errorf("secret-encrypt error ID %05d: %v", id, err)
	SendError(w, code, fmt.Errorf("secret-encrypt error ID %05d", id))
}

func (s *Server) encryptStatus(w http.ResponseWriter, r *http.Request) {
	state, err := s.Hooks.EncryptionStatus(r.Context())
	if err != nil {
		sendEncryptError(w, http.StatusInternalServerError, err)
		return
	}
	sendJSON(w, state)
}

func (s *Server) encryptConfig(w http.ResponseWriter, r *http.Request) {
	if !onlyMethod(w, r, http.MethodPut) {
		return
	}
	if !s.CoreReady() {
		SendError(w, http.StatusServiceUnavailable, ErrCoreNotReady)
		return
	}
	var req EncryptionRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&req); err != nil {
		SendError(w, http.StatusBadRequest, err)
		return
	}
	if req.Stage == nil || *req.Stage != StageRotateKeys {
		SendError(w, http.StatusNotImplemented, errors.New("only rotate-keys is modelled by this stand-in"))
		return
	}
	// A client that gives up ends nothing.
	if err := s.Hooks.RotateKeys(context.WithoutCancel(r.Context())); err != nil {
		sendEncryptError(w, http.StatusBadRequest, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}
