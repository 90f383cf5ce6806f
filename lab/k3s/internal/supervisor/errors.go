// Package supervisor is k3s's own HTTP service on port 6443, in front of the kube-apiserver, and its client.
package supervisor

import (
	"encoding/json"
	"errors"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Errors that k3s answers with while it starts.
var (
	ErrAPINotReady  = errors.New("apiserver not ready")
	ErrCoreNotReady = errors.New("runtime core not ready")
)

// BadRequest is answered with 400 and its own words.
type BadRequest struct{ Err error }

func (b BadRequest) Error() string { return b.Err.Error() }
func (b BadRequest) Unwrap() error { return b.Err }

var reasons = map[int]metav1.StatusReason{
	http.StatusBadRequest:          metav1.StatusReasonBadRequest,
	http.StatusUnauthorized:        metav1.StatusReasonUnauthorized,
	http.StatusForbidden:           metav1.StatusReasonForbidden,
	http.StatusNotFound:            metav1.StatusReasonNotFound,
	http.StatusMethodNotAllowed:    metav1.StatusReasonMethodNotAllowed,
	http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError,
	http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
}

// SendError answers with a Kubernetes Status and Connection: close, so that a balancer's client tries elsewhere.
func SendError(w http.ResponseWriter, code int, err error) {
	// Field order and empty metadata as k3s prints them.
	body := struct {
		Kind       string              `json:"kind"`
		APIVersion string              `json:"apiVersion"`
		Metadata   struct{}            `json:"metadata"`
		Status     string              `json:"status"`
		Message    string              `json:"message"`
		Reason     metav1.StatusReason `json:"reason"`
		Code       int                 `json:"code"`
	}{"Status", "v1", struct{}{}, metav1.StatusFailure, err.Error(), reasons[code], code}
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
