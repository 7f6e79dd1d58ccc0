{{- define "icpgate.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "icpgate.selector" -}}
app.kubernetes.io/name: icpgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "icpgate.labels" -}}
{{ include "icpgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Fails where the values would lose records or the filed address. */}}
{{- define "icpgate.checks" -}}
{{- if and (eq .Values.service.type "LoadBalancer") (not .Values.service.loadBalancerId) -}}
{{- fail "service.loadBalancerId: name the load balancer whose address is filed; a new one would be blocked. For tests: service.type=ClusterIP" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.albId) -}}
{{- fail "ingress.albId: name the ALB whose address is filed; a new one would be blocked" -}}
{{- end -}}
{{- if eq .Values.workload.kind "Deployment" -}}
{{- $log := .Values.config.access_log | default dict -}}
{{- $required := false -}}
{{- range ($log.sinks | default list) }}{{ if .require }}{{ $required = true }}{{ end }}{{ end -}}
{{- if not $required -}}
{{- fail "workload.kind: a Deployment loses its records with the pod; add a sink with `require: true` to config.access_log.sinks, or use a StatefulSet" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "icpgate.pod" -}}
metadata:
  labels:
    {{- include "icpgate.labels" . | nindent 4 }}
    {{- with .Values.workload.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with .Values.workload.podAnnotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .Values.workload.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.workload.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.workload.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.workload.topologyKey }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{ include "icpgate.selector" $ | nindent 10 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ .Values.userId }}
    runAsGroup: {{ .Values.userId }}
    fsGroup: {{ .Values.userId }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: icpgate
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run]
      ports:
        - {name: https, containerPort: {{ .Values.ports.https }}}
        - {name: http, containerPort: {{ .Values.ports.http }}}
        - {name: admin, containerPort: {{ .Values.ports.admin }}}
      startupProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 1
        failureThreshold: 30
      livenessProbe:
        httpGet: {path: /livez, port: admin}
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 2
        failureThreshold: 1
      lifecycle:
        preStop:
          sleep: {seconds: {{ .Values.workload.preStopSeconds }}}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      resources: {{ toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - {name: edge, mountPath: /etc/icpgate, readOnly: true}
        - {name: access, mountPath: /var/lib/icpgate}
  volumes:
    - name: edge
      projected:
        defaultMode: 0440
        sources:
          - configMap:
              name: {{ include "icpgate.name" . }}
          {{- with .Values.existingFilings }}
          - configMap:
              name: {{ . }}
              items: [{key: filings.yaml, path: filings.yaml}]
          {{- end }}
          - secret:
              name: {{ .Values.certificateSecret }}
              items:
                - {key: tls.crt, path: certs/tls.crt}
                - {key: tls.key, path: certs/tls.key}
          {{- range .Values.extraSecrets }}
          - secret:
              name: {{ .name }}
              items:
                - {key: tls.crt, path: {{ .path }}/tls.crt}
                - {key: tls.key, path: {{ .path }}/tls.key}
          {{- end }}
    {{- if eq .Values.workload.kind "Deployment" }}
    - name: access
      emptyDir: {}
    {{- end }}
{{- end -}}
