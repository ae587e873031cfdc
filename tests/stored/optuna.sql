BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'tiny');
INSERT INTO "studies" VALUES(2,'tiny/baseline');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MAXIMIZE',2,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'lsml.identity','"e291bb1abc3e4638ba03cda98d933dae"');
INSERT INTO "study_user_attributes" VALUES(2,1,'lsml.spec','{"data": {"train": "fcc8f4e95a5a78229e0ab138dea01724f45536346af7d4d25aad6d8617ad99b2", "validation": "8f799a79f4c87f01e67d66d5b39d5696059aa634155d5cd93f7ee3c9c6e3b531"}, "base": {"input.features": "bands", "input.scaling": "standard", "input.clip_percentile": 0.0, "input.visible": true, "input.red_edge": true, "input.near_infrared": true, "input.short_wave_infrared": true, "input.atmospheric": true, "input.terrain": true, "input.indices": "none", "model.architecture": "unet", "model.encoder": "resnet18", "model.weights": "none", "model.stem": "inflate", "model.filters": 4, "model.depth": 1, "model.dropout": 0.1, "model.dropout_rise": 0.0, "model.dropout_unit": "channel", "model.normalization": "batch", "model.upsampling": "transposed", "model.attention": "none", "model.members": 1, "model.pixel_share": 0.0, "model.deep_supervision": false, "loss.cross_entropy": 0.5, "loss.focal": 0.0, "loss.dice": 0.0, "loss.tversky": 0.0, "loss.jaccard": 0.5, "loss.lovasz": 0.0, "loss.focal_tversky": 0.0, "loss.landslide_weight": 1.0, "loss.hardest_share": 1.0, "loss.focal_gamma": 2.0, "loss.focal_alpha": 0.5, "loss.tversky_alpha": 0.3, "loss.tversky_beta": 0.7, "loss.focal_tversky_gamma": 1.3333333333333333, "augment.strength": 0.5, "augment.flips": 1.0, "augment.rotation": 1.0, "augment.crop": 1.0, "augment.elastic": 0.0, "augment.light": 1.0, "augment.gain": 1.0, "augment.noise": 1.0, "augment.dropout": 0.0, "augment.mixup": 0.0, "augment.cutmix": 0.0, "training.epochs": 2, "training.steps_per_epoch": 0, "training.landslide_share": 0.0, "training.batch_size": 4, "training.learning_rate": 0.001, "training.schedule": "cosine", "training.weight_decay": 0.0001, "training.gradient_clipping": 0.0, "training.weight_averaging": 0.0, "training.freeze_epochs": 0, "training.encoder_learning_rate_share": 1.0, "training.patience": 20, "training.precision": "auto", "training.xla": "auto"}, "space": {"training.learning_rate": {"low": 0.0001, "high": 0.1, "log": true}}, "search": {"seed": 0, "engine": "optuna", "sampler": {"name": "tpe", "startup_trials": 10, "candidates": 24}, "pruner": {"name": "none"}}, "confirm": 0}');
INSERT INTO "study_user_attributes" VALUES(3,1,'lsml.run_id','"d311d2106d68466ba2056600af97d7de"');
INSERT INTO "study_user_attributes" VALUES(4,2,'lsml.items','["logistic regression on single pixels", "gradient boosting on single pixels", "NDVI and slope threshold"]');
INSERT INTO "study_user_attributes" VALUES(5,1,'lsml.result','{"study": "tiny", "study_run_id": "d311d2106d68466ba2056600af97d7de", "best_run_id": "88ed3d3fc2ff4842aee41bd08420dd7e", "best_value": 0.14088107051571191, "label": "trial 0", "standings": [], "champions": [], "model": "tiny", "version": "1", "counts": {"complete": 2, "pruned": 0, "failed": 0}, "fresh": true, "trials_page": "http://127.0.0.1:5000/#/experiments/1/runs?compareRunsMode=CHART&viewStateShareKey=d311d2106d68466ba2056600af97d7de&workflowType=machine_learning", "best_page": "http://127.0.0.1:5000/#/compare-runs?runs=%5B%2288ed3d3fc2ff4842aee41bd08420dd7e%22%2C%227ea8e654bfe449bebba66065b6d90973%22%5D&experiments=%5B%221%22%5D&workflowType=machine_learning", "cost": null, "limit": null, "front": [], "baselines": [{"what": "logistic regression on single pixels", "f1": 0.5538065538065539, "run_id": "2db34d238ba449329b70e349e0cb08f7", "reason": ""}, {"what": "gradient boosting on single pixels", "f1": 0.46521121760738376, "run_id": "058d908d785748dd984c2043df6e1fd0", "reason": ""}, {"what": "NDVI and slope threshold", "f1": 0.5482747704969927, "run_id": "f50fe77415d44db98ad80681b8369d60", "reason": ""}]}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,1.36693495184061208913e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,1.40881070515711914747e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,2,1,1.00566204353020619e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,2,1.01130424212957328866e-01,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'training.learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(2,2,'training.learning_rate',3.13588838158983631339e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'fixed_params','{"training.learning_rate": 0.001}');
INSERT INTO "trial_system_attributes" VALUES(2,2,'fixed_params','{}');
INSERT INTO "trial_system_attributes" VALUES(3,3,'fixed_params','{}');
INSERT INTO "trial_system_attributes" VALUES(4,4,'fixed_params','{}');
INSERT INTO "trial_system_attributes" VALUES(5,5,'fixed_params','{}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'slot','0');
INSERT INTO "trial_user_attributes" VALUES(2,1,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(3,1,'searched','["training.learning_rate"]');
INSERT INTO "trial_user_attributes" VALUES(4,1,'run_id','"88ed3d3fc2ff4842aee41bd08420dd7e"');
INSERT INTO "trial_user_attributes" VALUES(5,1,'threshold','0.6280830502510071');
INSERT INTO "trial_user_attributes" VALUES(6,1,'temperature','4.999982884079051');
INSERT INTO "trial_user_attributes" VALUES(7,1,'best_epoch','2');
INSERT INTO "trial_user_attributes" VALUES(8,1,'steps','2');
INSERT INTO "trial_user_attributes" VALUES(9,1,'costs','{"parameters": 2209.0, "latency_ms": 40.25830899990979}');
INSERT INTO "trial_user_attributes" VALUES(10,2,'slot','1');
INSERT INTO "trial_user_attributes" VALUES(11,2,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(12,2,'searched','["training.learning_rate"]');
INSERT INTO "trial_user_attributes" VALUES(13,2,'run_id','"7ea8e654bfe449bebba66065b6d90973"');
INSERT INTO "trial_user_attributes" VALUES(14,2,'threshold','0.5069995522499084');
INSERT INTO "trial_user_attributes" VALUES(15,2,'temperature','4.999980604559107');
INSERT INTO "trial_user_attributes" VALUES(16,2,'best_epoch','2');
INSERT INTO "trial_user_attributes" VALUES(17,2,'steps','2');
INSERT INTO "trial_user_attributes" VALUES(18,2,'costs','{"parameters": 2209.0, "latency_ms": 6.232046000150149}');
INSERT INTO "trial_user_attributes" VALUES(19,3,'slot','0');
INSERT INTO "trial_user_attributes" VALUES(20,3,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(21,3,'searched','[]');
INSERT INTO "trial_user_attributes" VALUES(22,3,'run_id','"2db34d238ba449329b70e349e0cb08f7"');
INSERT INTO "trial_user_attributes" VALUES(23,3,'threshold','0.12455336004495621');
INSERT INTO "trial_user_attributes" VALUES(24,3,'temperature','1.0');
INSERT INTO "trial_user_attributes" VALUES(25,3,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(26,3,'steps','1');
INSERT INTO "trial_user_attributes" VALUES(27,3,'costs','{}');
INSERT INTO "trial_user_attributes" VALUES(28,4,'slot','1');
INSERT INTO "trial_user_attributes" VALUES(29,4,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(30,4,'searched','[]');
INSERT INTO "trial_user_attributes" VALUES(31,4,'run_id','"058d908d785748dd984c2043df6e1fd0"');
INSERT INTO "trial_user_attributes" VALUES(32,4,'threshold','0.020232997834682465');
INSERT INTO "trial_user_attributes" VALUES(33,4,'temperature','1.0');
INSERT INTO "trial_user_attributes" VALUES(34,4,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(35,4,'steps','1');
INSERT INTO "trial_user_attributes" VALUES(36,4,'costs','{}');
INSERT INTO "trial_user_attributes" VALUES(37,5,'slot','2');
INSERT INTO "trial_user_attributes" VALUES(38,5,'attempt','1');
INSERT INTO "trial_user_attributes" VALUES(39,5,'searched','[]');
INSERT INTO "trial_user_attributes" VALUES(40,5,'run_id','"f50fe77415d44db98ad80681b8369d60"');
INSERT INTO "trial_user_attributes" VALUES(41,5,'threshold','0.4750208258628845');
INSERT INTO "trial_user_attributes" VALUES(42,5,'temperature','1.0');
INSERT INTO "trial_user_attributes" VALUES(43,5,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(44,5,'steps','1');
INSERT INTO "trial_user_attributes" VALUES(45,5,'costs','{}');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,1.40881070515711914747e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,1.01130424212957328866e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,5.53806553806553858443e-01,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,4.65211217607383764605e-01,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,5.48274770496992691626e-01,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-25 20:58:35.537655','2026-11-25 20:59:21.920200');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-25 20:59:21.985632','2026-11-25 20:59:26.369945');
INSERT INTO "trials" VALUES(3,0,2,'COMPLETE','2026-11-25 20:59:26.458775','2026-11-25 20:59:27.702003');
INSERT INTO "trials" VALUES(4,1,2,'COMPLETE','2026-11-25 20:59:27.726691','2026-11-25 20:59:31.028123');
INSERT INTO "trials" VALUES(5,2,2,'COMPLETE','2026-11-25 20:59:31.439086','2026-11-25 20:59:35.850138');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
